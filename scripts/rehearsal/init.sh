#!/bin/busybox sh
# The guest's first program, in the initramfs: mounts the host's root over 9p, read-only, with a tmpfs on top, and goes on
# in it. /out is the rehearsal's log directory, the one place that the guest can write and the host sees.
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs dev /dev
fail() { echo "rehearsal: the guest failed: $*" >/dev/ttyS0; $busybox poweroff -f; }
while read -r module; do $busybox insmod "/modules/$module" || fail "insmod $module"; done </modules/order
options=trans=virtio,version=9p2000.L,msize=524288
$busybox mount -t 9p -o "ro,cache=loose,$options" root /ro || fail "the root over 9p"
$busybox mount -t tmpfs -o size=60%,mode=755 tmpfs /rw && $busybox mkdir -p /rw/upper /rw/work
$busybox mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new || fail "the overlay"
for place in proc sys dev run tmp out lib/modules; do $busybox mkdir -p "/new/$place"; done
for place in proc sys dev; do $busybox mount --move "/$place" "/new/$place"; done
$busybox mount -t tmpfs -o mode=755 tmpfs /new/run
$busybox mount -t 9p -o "rw,cache=none,$options" out /new/out || fail "/out over 9p"
$busybox mount -t 9p -o "ro,cache=loose,$options" modules /new/lib/modules || fail "the modules over 9p"
exec $busybox switch_root /new /bin/bash /out/guest.sh
