# The guest's second program (bash): what a boot does on a small machine, then commands from the host until it hangs up.
#
# The host writes "NUMBER COMMAND" lines to a virtio-serial port; each command runs in a shell of its own, its output
# goes to /out/NUMBER.out and .err, and "NUMBER STATUS" goes back when it has ended.
export HOME=/root TERM=dumb LANG=C.UTF-8 PATH
PATH=$(</out/path)
ln -sfn /proc/self/fd /dev/fd
for i in 0:stdin 1:stdout 2:stderr; do ln -sfn "/proc/self/fd/${i%%:*}" "/dev/${i#*:}"; done
mkdir -p /dev/pts /dev/shm /dev/hugepages /run/netns /run/lock
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t hugetlbfs hugetlbfs /dev/hugepages
[ -L /var/run ] || mount --bind /run /var/run
ip link set lo up
hostname rehearsal
mkdir -p /dev/net && mknod /dev/net/tun c 10 200   # as systemd-tmpfiles does; opening it loads the module
ulimit -n 65536
cd /root || exit 1
modprobe -q virtio_console
# udev would load a driver for each NIC and give it its name; there is none here.
for alias in /sys/bus/pci/devices/*/modalias; do modprobe -q "$(<"$alias")"; done
for alias in /sys/bus/virtio/devices/*/modalias; do modprobe -q "$(<"$alias")"; done
for _ in {1..600}; do [ -e /dev/vport0p1 ] && break; sleep 0.1; done
exec 3<>/dev/vport0p1
echo "0 0" >&3
while read -r number command <&3; do
  {
    bash -c "$command" >"/out/$number.out" 2>"/out/$number.err" </dev/null 3<&-
    echo "$number $?" >&3
  } &
done
poweroff -f
