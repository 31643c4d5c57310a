"""What libvirt is asked for: a domain, its disks, and the disk that tells cloud-init what to do."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

from broker.clouds.adapter import CloudSize

NAMESPACE = "https://beamdesk.org/machine"


def domain_xml(
    type_: str, pool: str, network: str, id_: str, name: str, size: CloudSize, tags: Mapping[str, str]
) -> str:
    """A machine with two disks of the pool that have its name, one interface, a console and an agent's channel."""
    domain = Element("domain", type=type_)
    SubElement(domain, "uuid").text = id_
    SubElement(domain, "name").text = name
    SubElement(domain, "memory", unit="MiB").text = str(int(size.memory_gb * 1024))
    SubElement(domain, "vcpu").text = str(size.cores)
    SubElement(SubElement(domain, "metadata"), f"{{{NAMESPACE}}}machine").text = json.dumps(dict(tags))
    SubElement(SubElement(domain, "os"), "type").text = "hvm"
    features = SubElement(domain, "features")
    for each in ("acpi", "apic"):
        SubElement(features, each)
    if type_ == "kvm":
        SubElement(domain, "cpu", mode="host-passthrough")
    for end in ("poweroff", "crash"):
        SubElement(domain, f"on_{end}").text = "destroy"
    devices = SubElement(domain, "devices")
    _disk(devices, pool, f"{name}.qcow2", "disk", "qcow2", ("vda", "virtio"))
    _disk(devices, pool, f"{name}.iso", "cdrom", "raw", ("sda", "sata"))
    interface = SubElement(devices, "interface", type="network")
    SubElement(interface, "source", network=network)
    SubElement(interface, "model", type="virtio")
    SubElement(devices, "console", type="pty")
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    return tostring(domain, "unicode")


def _disk(devices: Element, pool: str, volume: str, device: str, format_: str, target: tuple[str, str]) -> None:
    disk = SubElement(devices, "disk", type="volume", device=device)
    SubElement(disk, "driver", name="qemu", type=format_)
    SubElement(disk, "source", pool=pool, volume=volume)
    SubElement(disk, "target", dev=target[0], bus=target[1])
    if device == "cdrom":
        SubElement(disk, "readonly")


def disk_xml(name: str, size: CloudSize, image: str) -> str:
    """A disk of the size's that begins as the image, of which it keeps only what differs."""
    volume = Element("volume")
    SubElement(volume, "name").text = name
    SubElement(volume, "capacity", unit="GiB").text = str(int(size.disk_gb))
    SubElement(SubElement(volume, "target"), "format", type="qcow2")
    backing = SubElement(volume, "backingStore")
    SubElement(backing, "path").text = image
    SubElement(backing, "format", type="qcow2")
    return tostring(volume, "unicode")


def volume_xml(name: str, octets: int) -> str:
    """An empty volume."""
    volume = Element("volume")
    SubElement(volume, "name").text = name
    SubElement(volume, "capacity", unit="bytes").text = str(octets)
    SubElement(SubElement(volume, "target"), "format", type="raw")
    return tostring(volume, "unicode")


def seed_image(id_: str, hostname: str, user_data: str) -> bytes:
    """The disk of cloud-init's NoCloud data source: an ISO 9660 file system by the name of cidata."""
    import pycdlib  # of the extra `libvirt`

    files = {"user-data": user_data, "meta-data": json.dumps({"instance-id": id_, "local-hostname": hostname})}
    disk = pycdlib.PyCdlib()
    disk.new(vol_ident="cidata", joliet=3, rock_ridge="1.09")
    for number, (name, text) in enumerate(files.items()):
        data = text.encode()
        disk.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", joliet_path=f"/{name}", rr_name=name)
    out = io.BytesIO()
    disk.write_fp(out)
    disk.close()
    return out.getvalue()
