"""How generator and device under test are connected: two cables, the first inside, the second outside."""

from netns import run


class Memif:
    """Shared memory: the device serves and copies, the generator's frames stay where they are."""

    name = "memif"
    device_first = True
    # Frames each way: half of a ring.
    under_way = 512

    def __init__(self, world, *, zero_copy=True):
        self.directory, self.zero_copy = world.directory, "yes" if zero_copy else "no"
        self.device_host = self.generator_host = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path in self.directory.glob("*.sock"):
            path.unlink(missing_ok=True)

    def socket(self, index):
        return f"{self.directory}/{self.name}{index}.sock"

    def device(self, index):
        return f"net_memif{index},role=server,socket={self.socket(index)},socket-abstract=no,id=0"

    def generator(self, index):
        return f"net_memif{index},role=client,socket={self.socket(index)},socket-abstract=no,id=0,zero-copy={self.zero_copy}"


class Vhost(Memif):
    """The device is the back end, as beside virtual machines."""

    name = "vhost"

    def device(self, index):
        return f"net_vhost{index},iface={self.socket(index)}"

    def generator(self, index):
        return f"net_virtio_user{index},path={self.socket(index)},queue_size=1024"


class Virtio(Memif):
    """The device is the front end, as in a virtual machine. The back end has to be there first."""

    name = "virtio_user"
    device_first = False

    def device(self, index):
        return f"net_virtio_user{index},path={self.socket(index)},queue_size=1024"

    def generator(self, index):
        return f"net_vhost{index},iface={self.socket(index)}"


class Veth:
    """Two veth pairs between two namespaces: what DPDK and the kernel can both be on."""

    name = "af_packet"
    device_first = True
    # The kernel's ring of a veth whose NAPI is threaded has 256.
    under_way = 192
    near, far = ("in", "out"), ("in0", "out0")

    def __init__(self, world):
        self.world = world

    def __enter__(self):
        self.device_host, self.generator_host = self.world.add("router"), self.world.add("generator")
        for near, far in zip(self.near, self.far):
            self.world.cable(self.device_host, near, self.generator_host, far)
        return self

    def __exit__(self, *_):
        for host in (self.device_host, self.generator_host):
            self.world.namespaces.pop(host.name, None)
            run(["ip", "netns", "delete", host.full], check=False)

    def device(self, index):
        return f"net_af_packet{index},iface={self.near[index]},framecnt=4096,blocksz=4096,qdisc_bypass=1"

    def generator(self, index):
        return f"net_af_packet{index},iface={self.far[index]},framecnt=4096,blocksz=4096,qdisc_bypass=1"
