"""The recorded wire of OpenNebula's XML-RPC: what broker/clouds/opennebula_driver.py asks of it."""

from __future__ import annotations

import base64
import json
import re
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

from tests.peers.wires import CONSOLE, Answer, Asked, Lost, serving

SESSION = "broker:right"
NODES = 10  # the quota of the user
AUTHENTICATION, NO_EXISTS, ACTION, ALLOCATE = 0x0100, 0x0400, 0x0800, 0x4000
DONE, ACTIVE = 6, 3
PROLOG, RUNNING, SHUTDOWN = 1, 3, 12
_VECTOR = re.compile(r"^(\w+)=\[(.*)\]$")
_PAIR = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
TEMPLATES = """<VMTEMPLATE_POOL>
<VMTEMPLATE><ID>0</ID><NAME>small</NAME><TEMPLATE><CPU>0.5</CPU><VCPU>1</VCPU><MEMORY>1024</MEMORY></TEMPLATE></VMTEMPLATE>
<VMTEMPLATE><ID>1</ID><NAME>with-gpu</NAME><TEMPLATE><CPU>4</CPU><VCPU>4</VCPU><MEMORY>16384</MEMORY>
<GPU_MODEL>a100</GPU_MODEL><PCI><CLASS>0302</CLASS><VENDOR>10de</VENDOR></PCI></TEMPLATE></VMTEMPLATE>
</VMTEMPLATE_POOL>"""
_TEMPLATES = ET.fromstring(TEMPLATES)  # noqa: S314 (our own)
IMAGES = """<IMAGE_POOL>
<IMAGE><ID>3</ID><NAME>desktop-1</NAME><REGTIME>1764000000</REGTIME></IMAGE>
<IMAGE><ID>7</ID><NAME>desktop-1</NAME><REGTIME>1764500000</REGTIME></IMAGE>
</IMAGE_POOL>"""
NETWORKS = "<VNET_POOL><VNET><ID>5</ID><NAME>desktops</NAME></VNET></VNET_POOL>"


class Refused(Exception):
    """Raised when OpenNebula would say no."""


class OpenNebula:
    """One user. Machines take a look to start, and one to go."""

    def __init__(self) -> None:
        self.machines: dict[int, ET.Element] = {}
        self.loses_answers = False  # of requests for machines

    def answer(self, asked: Asked) -> Answer:
        """As OpenNebula answers: good or not, what, and an error's code."""
        (session, *arguments), method = xmlrpc.client.loads(asked.body)
        try:
            if session != SESSION:
                raise Refused(f"[{method}] User couldn't be authenticated, aborting call.", AUTHENTICATION)
            answer = (True, METHODS[str(method)](self, *arguments), 0)
        except Refused as refused:
            answer = (False, *refused.args)
        return 200, xmlrpc.client.dumps((answer,), methodresponse=True).encode()

    def vms(self, whose: int, begin: int, end: int, state: int, chosen: str) -> str:
        """one.vmpool.infoextended"""
        assert (whose, state, chosen) == (-3, -1, "")
        pool = ET.Element("VM_POOL")
        pool.extend(vm for vm in self.machines.values() if vm.findtext("STATE") != str(DONE))
        said = ET.tostring(pool, "unicode")
        for vm in pool:
            _go_on(vm)
        return said

    def vm(self, id_: int) -> str:
        """one.vm.info"""
        said = ET.tostring(self._known(id_), "unicode")
        _go_on(self._known(id_))
        return said

    def _known(self, id_: int) -> ET.Element:
        if id_ not in self.machines:
            raise Refused(f"[one.vm.info] Error getting virtual machine [{id_}].", NO_EXISTS)
        return self.machines[id_]

    def instantiate(self, template: int, name: str, hold: bool, extra: str, persistent: bool) -> int:
        """one.template.instantiate"""
        has = _TEMPLATES.find(f"VMTEMPLATE[ID='{template}']/TEMPLATE")
        if has is None:
            raise Refused(f"[one.template.instantiate] Error getting template [{template}].", NO_EXISTS)
        if len(self._there()) >= NODES:
            raise Refused(
                f"[one.template.instantiate] User [2] : limit of {NODES} reached for VMS quota in VM.", ALLOCATE
            )
        id_ = len(self.machines)
        vm = self.machines[id_] = ET.Element("VM")
        for tag, text in (("ID", id_), ("NAME", name), ("STATE", ACTIVE), ("LCM_STATE", PROLOG)):
            ET.SubElement(vm, tag).text = str(text)
        own, whole = ET.SubElement(vm, "USER_TEMPLATE"), ET.SubElement(vm, "TEMPLATE")
        for line in extra.splitlines():
            _merge(line, own, whole)
        ET.SubElement(whole.find("NIC"), "IP").text = f"10.8.0.{id_ + 2}"  # type: ignore[arg-type]
        _boot(vm)
        if self.loses_answers:
            raise Lost
        return id_

    def _there(self) -> list[ET.Element]:
        return [vm for vm in self.machines.values() if vm.findtext("STATE") != str(DONE)]

    def act(self, action: str, id_: int) -> int:
        """one.vm.action"""
        assert action == "terminate-hard"
        vm = self._known(id_)
        if vm.findtext("STATE") != str(ACTIVE) or vm.findtext("LCM_STATE") == str(SHUTDOWN):
            raise Refused(f"[one.vm.action] Error performing action [{action}]: wrong state.", ACTION)
        _set(vm, ACTIVE, SHUTDOWN)
        return id_

    def user(self, id_: int) -> str:
        """one.user.info"""
        used = len(self._there())
        quota = f"<VMS>{NODES}</VMS><VMS_USED>{used}</VMS_USED><MEMORY>-2</MEMORY><MEMORY_USED>0</MEMORY_USED>"
        return f"<USER><ID>2</ID><NAME>broker</NAME><VM_QUOTA><VM>{quota}</VM></VM_QUOTA></USER>"


METHODS: dict[str, Any] = {
    "one.vmpool.infoextended": OpenNebula.vms,
    "one.vm.info": OpenNebula.vm,
    "one.template.instantiate": OpenNebula.instantiate,
    "one.vm.action": OpenNebula.act,
    "one.user.info": OpenNebula.user,
    "one.templatepool.info": lambda *_: TEMPLATES,
    "one.imagepool.info": lambda *_: IMAGES,
    "one.vnpool.info": lambda *_: NETWORKS,
}


def _merge(line: str, own: ET.Element, whole: ET.Element) -> None:
    """One attribute of an extra template: vectors belong to the machine, the rest to its user."""
    vector = _VECTOR.match(line)
    pairs = _PAIR.findall(vector[2] if vector else line)
    into = ET.SubElement(whole, vector[1]) if vector else own
    for key, value in pairs:
        ET.SubElement(into, key).text = re.sub(r"\\(.)", r"\1", value)


def _boot(vm: ET.Element) -> None:
    """As cloud-init would: read the user-data, and tell OneGate the host key, as it says there."""
    told = base64.b64decode(vm.findtext("TEMPLATE/CONTEXT/USER_DATA") or "").decode()
    commands = [command[2] for command in json.loads(told.partition("\n")[2])["runcmd"]]
    [name] = re.findall(r'-d "(\w+)=', commands[-1])
    ET.SubElement(vm.find("USER_TEMPLATE"), name).text = CONSOLE.splitlines()[1].rpartition(" ")[0]  # type: ignore[arg-type]


def _go_on(vm: ET.Element) -> None:
    """What OpenNebula does meanwhile, one step at each look."""
    if vm.findtext("LCM_STATE") == str(PROLOG):
        _set(vm, ACTIVE, RUNNING)
    elif vm.findtext("LCM_STATE") == str(SHUTDOWN):
        _set(vm, DONE, 0)


def _set(vm: ET.Element, state: int, lcm_state: int) -> None:
    for tag, value in (("STATE", state), ("LCM_STATE", lcm_state)):
        found = vm.find(tag)
        assert found is not None
        found.text = str(value)


@contextmanager
def opennebula() -> Iterator[tuple[OpenNebula, str]]:
    """The wire, and its address."""
    wire = OpenNebula()
    with serving(wire.answer) as port:
        yield wire, f"http://127.0.0.1:{port}/RPC2"
