/**
 * The guest's own scripts and tables: busybox init starts /etc/rc, then keeps a shell on each console, the DHCP
 * watcher and the guest agent alive. Everything runs from the initramfs; only /data lives on the disk.
 */

/** Counts up with every change of what the guest does; part of the cache's key. */
export const LINUX_TEMPLATE_VERSION = 2;

/** The label of the partition that the guest mounts at /data. */
export const DATA_LABEL = 'HVDATA';

const INITTAB = `::sysinit:/etc/rc
ttyS0::respawn:/sbin/hv-console
tty1::respawn:/sbin/hv-console
::respawn:/sbin/hv-network
::respawn:/sbin/hv-agent
::ctrlaltdel:/sbin/reboot
`;

/** Mounts, loads the modules that the machine's devices ask for, mounts /data. Short: each fork costs 10 ms without KVM. */
const RC = `#!/bin/sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
hostname -F /etc/hostname
ip link set lo up
modprobe -aq sd_mod sr_mod button evdev $(cat /sys/bus/pci/devices/*/modalias /sys/bus/acpi/devices/*/modalias)
modprobe -aq virtio $(cat /sys/bus/virtio/devices/*/modalias /sys/bus/vmbus/devices/*/modalias 2>/dev/null)
echo online >/sys/devices/system/memory/auto_online_blocks 2>/dev/null
acpid -f -l /dev/null >/dev/null 2>&1 &
uevent /sbin/hv-uevent >/dev/null 2>&1 &
# Disks appear a moment after their driver.
tries=0
until disk=$(findfs LABEL=${DATA_LABEL} 2>/dev/null); do
  tries=$((tries + 1))
  [ $tries -gt 40 ] && break
  usleep 50000
done
[ -n "$disk" ] && mount -o noatime "$disk" /data
:
`;

/** One shell per console, with a greeting first; it comes back when somebody leaves it. */
const CONSOLE = `#!/bin/sh
[ -e /run/going-down ] && exec sleep 3600
case $(tty) in
/dev/ttyS*) stty rows 24 cols 80; export TERM=vt102 ;;
*) export TERM=linux ;;
esac
read -r uptime rest </proc/uptime
read -r os release kernel rest </proc/version
echo
echo "hv linux guest ${LINUX_TEMPLATE_VERSION} ready: kernel $kernel, uptime $uptime s"
cd /root
export HOME=/root ENV=/etc/shrc
exec cttyhack sh -i +m
`;

const SHRC = `export PATH=/sbin:/bin:/usr/sbin:/usr/bin
PS1='hv-guest:\\w# '
`;

/** Keeps a DHCP client on every NIC that there is, and asks again when a cable is plugged in. */
const NETWORK = `#!/bin/sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
mkdir -p /run/net
while [ ! -e /run/going-down ]; do
  for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] || continue
    name=\${nic##*/}
    pid=
    [ -e /run/net/$name.pid ] && read -r pid </run/net/$name.pid
    if [ -z "$pid" ] || [ ! -d /proc/$pid ]; then
      ip link set $name up
      udhcpc -f -i $name -p /run/net/$name.pid -s /etc/udhcpc.sh -x hostname:hv-guest -t 4 -T 1 -A 2 >/dev/null 2>&1 &
      echo $! >/run/net/$name.pid
      echo 1 >/run/net/$name.carrier
      continue
    fi
    carrier=0
    read -r carrier <$nic/carrier
    read -r before </run/net/$name.carrier
    [ "$carrier" = "$before" ] && continue
    echo $carrier >/run/net/$name.carrier
    # Another switch may be another network: give the address back, then ask.
    [ "$carrier" = 1 ] && kill -USR2 $pid && usleep 100000 && kill -USR1 $pid
  done 2>/dev/null
  sleep 2
done
exec sleep 3600
`;

const UDHCPC = `#!/bin/sh
case $1 in
deconfig)
  ip addr flush dev $interface scope global
  ;;
bound | renew)
  ip addr replace $ip/\${mask:-24} dev $interface
  for gateway in $router; do
    ip route replace default via $gateway dev $interface
    break
  done
  : >/run/resolv.conf.new
  [ -n "$domain" ] && echo "search $domain" >>/run/resolv.conf.new
  for server in $dns; do echo "nameserver $server" >>/run/resolv.conf.new; done
  mv /run/resolv.conf.new /etc/resolv.conf
  [ "$1" = bound ] && echo "$interface $ip/\${mask:-24}" >>/run/leases
  ;;
esac
exit 0
`;

/** The agent lives as long as the host offers its port, which may be plugged in later. */
const AGENT = `#!/bin/sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
[ -e /run/going-down ] && exec sleep 3600
wait=20000
while :; do
  for port in /sys/class/virtio-ports/*; do
    name=
    { read -r name <$port/name; } 2>/dev/null
    [ -n "$name" ] || continue
    mkdir -p /dev/virtio-ports
    ln -sf ../\${port##*/} "/dev/virtio-ports/$name"
    [ "$name" = org.qemu.guest_agent.0 ] &&
      exec qemu-ga -m virtio-serial -p "/dev/virtio-ports/$name" -t /run -l /run/qemu-ga.log >/dev/null 2>&1
  done
  usleep $wait
  [ $wait -lt 2000000 ] && wait=$((wait * 2))
done
`;

/** Called by busybox uevent for each event of the kernel, which is in the environment. */
const UEVENT = `#!/bin/sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
[ "$ACTION" = add ] || exit 0
[ -n "$MODALIAS" ] && modprobe -q "$MODALIAS"
case $SUBSYSTEM in
cpu) [ "$(cat /sys$DEVPATH/online)" = 0 ] && echo 1 >/sys$DEVPATH/online ;;
esac
exit 0
`;

/** Orderly and quick: ask processes to end, write out, unmount, then tell the kernel. */
const GO_DOWN = `#!/bin/sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
how=\${0##*/}
if [ "$how" = shutdown ]; then
  how=poweroff
  for word in "$@"; do
    case $word in
    -r) how=reboot ;;
    -H) how=halt ;;
    esac
  done
fi
[ -e /run/going-down ] && exit 0
: >/run/going-down
trap '' HUP INT TERM PIPE
for console in /dev/tty1 /dev/ttyS0; do echo "hv linux guest going down: $how" >$console; done 2>/dev/null
kill -TERM -1
usleep 100000
sync
umount /data 2>/dev/null || { kill -KILL -1; usleep 50000; umount /data || mount -o remount,ro /data; } 2>/dev/null
exec busybox $how -f
`;

const POWER_BUTTON = `#!/bin/sh
exec /sbin/poweroff
`;

const OS_RELEASE = `NAME="hv linux guest"
ID=hv-guest
ID_LIKE=debian
VERSION="${LINUX_TEMPLATE_VERSION}"
VERSION_ID=${LINUX_TEMPLATE_VERSION}
PRETTY_NAME="hv linux guest ${LINUX_TEMPLATE_VERSION} (Debian's kernel, busybox)"
`;

export interface GuestFile {
  readonly path: string;
  readonly mode: number;
  readonly text: string;
}

export const GUEST_FOLDERS: readonly string[] = [
  ...['bin', 'sbin', 'usr', 'usr/bin', 'usr/sbin', 'lib', 'lib/modules', 'lib64', 'etc', 'etc/acpi', 'etc/acpi/PWRF'],
  ...['dev', 'proc', 'sys', 'run', 'tmp', 'root', 'mnt', 'data', 'var', 'var/log'],
];

export const GUEST_FILES: readonly GuestFile[] = [
  { path: 'etc/inittab', mode: 0o644, text: INITTAB },
  { path: 'etc/rc', mode: 0o755, text: RC },
  { path: 'etc/shrc', mode: 0o644, text: SHRC },
  { path: 'etc/udhcpc.sh', mode: 0o755, text: UDHCPC },
  { path: 'etc/acpi/PWRF/00000080', mode: 0o755, text: POWER_BUTTON },
  { path: 'etc/hostname', mode: 0o644, text: 'hv-guest\n' },
  { path: 'etc/hosts', mode: 0o644, text: '127.0.0.1 localhost hv-guest\n::1 localhost\n' },
  { path: 'etc/passwd', mode: 0o644, text: 'root::0:0:root:/root:/bin/sh\n' },
  { path: 'etc/group', mode: 0o644, text: 'root:x:0:\n' },
  { path: 'etc/os-release', mode: 0o644, text: OS_RELEASE },
  { path: 'sbin/hv-console', mode: 0o755, text: CONSOLE },
  { path: 'sbin/hv-network', mode: 0o755, text: NETWORK },
  { path: 'sbin/hv-agent', mode: 0o755, text: AGENT },
  { path: 'sbin/hv-uevent', mode: 0o755, text: UEVENT },
  { path: 'sbin/poweroff', mode: 0o755, text: GO_DOWN },
];

/** Other names of things in the guest: path and what it points to. */
export const GUEST_LINKS: readonly (readonly [path: string, target: string])[] = [
  ['init', 'sbin/init'],
  ['sbin/reboot', 'poweroff'],
  ['sbin/halt', 'poweroff'],
  ['sbin/shutdown', 'poweroff'],
  ['var/run', '../run'],
  ['etc/mtab', '../proc/mounts'],
];

/**
 * What the kernel is told, in both generations. The serial console comes last: it is /dev/console.
 * No mitigations: nobody else is in the guest. No timer check: a host that is busy lets its few milliseconds pass, and the
 * kernel then gives up a timer that works.
 */
export const KERNEL_COMMAND_LINE = 'console=tty0 console=ttyS0,115200 quiet mitigations=off no_timer_check';

export const GUEST_OS_RELEASE = OS_RELEASE;
