#!/bin/bash
# Run by systemd in the guest, once in each boot: installs oomwatch as docs/operations.md tells, causes one kill of each kind,
# and writes what oomwatch says to the second serial port. A line there is the name of a page and a line of it.
# The steps are logged to the console, whose last line has the exit code.
set -eux -o pipefail
page=/dev/ttyS1
stty -F "$page" raw

finish() {
    code=$?
    if [ "$code" != 0 ]; then
        systemctl status --no-pager oomwatch || true
        journalctl --no-pager --unit oomwatch || true
    fi
    printf '\noomwatch-vm: tests ended with exit code %s\n' "$code"
    sync
    systemctl poweroff --force --force
}
trap finish EXIT

# The agent's page of this path.
get() {
    exec 3<>/dev/tcp/127.0.0.1/10137
    printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
    cat <&3
    exec 3>&-
}

# Waits until a command succeeds.
await() {
    { set +x; } 2>/dev/null
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then
            set -x
            return
        fi
        sleep 0.2
    done
    echo "in vain: $*"
    return 1
}

is_ready() {
    (get /readyz) | grep -x ready
}

# Whether this agent has reported that many kills.
has_reported() {
    (get /metrics) | grep -x "oomwatch_node_kills_total $1"
}

put() {
    local name=$1
    shift
    "$@" | sed "s/^/$name /" >"$page"
}

reports() {
    put "history-$1" oomwatch history -o json
    put "text-$1" oomwatch history --utc
    put "metrics-$1" get /metrics
}

# Reads zeros for a line that never ends.
unit() {
    systemd-run --quiet --wait --unit="$1" -p MemoryMax=20M -p MemorySwapMax=0 tail /dev/zero || true
}

limits=(--memory 20m --memory-swap 20m)
busybox=(/bin/busybox tail /dev/zero)

if [ ! -e /var/lib/oomwatch ]; then
    install -m 755 /media/oomwatch /usr/bin/
    install -m 644 /media/oomwatch.service /etc/systemd/system/
    install -m 644 /media/oomwatch.logrotate /etc/logrotate.d/oomwatch
    systemctl daemon-reload
    systemctl enable --now oomwatch
    await is_ready

    unit web.service

    mkdir -p /srv/box/{bin,dev,etc,proc,run,sys,tmp,usr}
    cp /media/busybox /srv/box/bin/
    touch /srv/box/etc/os-release
    systemd-nspawn --quiet --as-pid2 --directory=/srv/box --machine=box --property=MemoryMax=20M --property=MemorySwapMax=0 \
        "${busybox[@]}" || true

    install -d /etc/systemd/user
    printf '[Service]\nType=oneshot\nExecStart=tail /dev/zero\nMemoryMax=20M\nMemorySwapMax=0\n' >/etc/systemd/user/editor.service
    systemctl start user@1000
    runuser -u alice -- env XDG_RUNTIME_DIR=/run/user/1000 systemctl --user start editor || true
    systemctl set-property --runtime user-1000.slice MemoryMax=100M MemorySwapMax=0
    runuser -l alice -c 'tail /dev/zero' || true

    systemctl start podman.socket
    tar -C /srv/box -c . | podman import --quiet - box
    podman run --rm --name pweb --network none "${limits[@]}" box "${busybox[@]}" || true

    systemctl start docker
    tar -C /srv/box -c . | docker import - box
    docker run --name dweb --network none "${limits[@]}" box "${busybox[@]}" || true

    await has_reported 6
    put metrics-first get /metrics

    systemctl stop oomwatch
    unit late.service
    systemctl start oomwatch
    await is_ready
    await has_reported 1

    logrotate --force /etc/logrotate.d/oomwatch
    await is_ready
    unit rotated.service
    await has_reported 1
    put file-before cat /var/log/oomwatch.json.1
    put file-rotated cat /var/log/oomwatch.json
    reports before
    trap - EXIT
    systemctl reboot
else
    await is_ready
    unit again.service
    await has_reported 1
    put file-after cat /var/log/oomwatch.json
    reports after
    put journal-after journalctl --unit oomwatch --output cat --no-pager
fi
