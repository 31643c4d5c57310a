"""The embedded cloud: a privileged daemon that makes machines of namespaces."""
