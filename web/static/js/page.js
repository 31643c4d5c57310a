// Every page of somebody who is signed in.
import { act } from "./actions.js";
import { keepTime } from "./clock.js";
import { watchSessions } from "./notify.js";
import { keepFresh } from "./regions.js";

keepFresh();
keepTime();
watchSessions();
act();
