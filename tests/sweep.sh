#!/bin/bash
# In a machine: rotates SECRET again and again, and kills rekeyd when it enters the n-th CALL of a rotation, for every other
# n from FIRST to LAST. After each point everything must be as after a rotation that nobody disturbed. Prints a line per
# point that is not, with why; "over N" where a rotation has fewer such calls; and "points N".
#
#   sweep.sh SECRET UNIT CALL FIRST LAST

set -uo pipefail
hung=0
secret=$1 unit=$2 call=$3 first=$4 last=$5

# How the secret stands: status, as JSON, and of that generation, state, rotation and hold.
look() {
  generation='' state='' rotation='' hold=''
  status=$(timeout 20 rekeyctl status --json "$secret" 2>/dev/null) || return
  IFS=$'\t' read -r generation state rotation hold < <(jq -r '[.generation, .state, .rotation, .hold] | map(tojson) | @tsv' <<<"$status")
}
main_pid() { systemctl show --value -p MainPID rekeyd.service; }
# Not by SIGTERM: strace would wait for each thread to stop, and hangs where one is killed meanwhile.
end_strace() {
  kill -KILL $strace 2>/dev/null
  wait $strace 2>/dev/null
}
wrong() { echo "$call $n: $*"; }

# The daemon, found by its main process, is killed when any of its threads enters the call for the n-th time.
trap_it() {
  pid=$(main_pid)
  strace -f -p "$pid" -o /dev/null -e trace="$call" -e inject="$call:signal=KILL:when=$n" 2>/dev/null &
  strace=$!
  # All threads: one that is killed while strace still attaches to others makes it hang.
  local end=$((SECONDS + 10))
  while ((SECONDS < end)) && kill -0 $strace 2>/dev/null; do
    [[ -n $(grep -Ls 'TracerPid:[[:space:]]*[1-9]' /proc/"$pid"/task/*/status) ]] || return 0
    sleep 0.01
  done
  return 1
}

# strace hangs at times, where the call comes by itself while it attaches: the point is tried again.
again() {
  ((++hung < 10)) || { wrong "strace hung $hung times"; exit 1; }
  end_strace
  systemctl restart rekeyd.service
  local end=$((SECONDS + 60))
  until look && [[ $rotation == null ]]; do
    ((SECONDS < end)) || { wrong "rekeyd did not come back"; exit 1; }
  done
  value=$(sed -n 's/^JWT_SECRET="\(.*\)"$/\1/p' "/var/lib/rekeyd/delivered/$secret/current/env")
  ((n -= 2))
}

# By other means than rekeyd's own: what the process has, what it would start with, and what it signs and accepts.
judge() {
  local process file token
  process=$(tr '\0' '\n' <"/proc/$(systemctl show --value -p MainPID "$unit")/environ" | sed -n 's/^JWT_SECRET=//p')
  file=$(sed -n 's/^JWT_SECRET="\(.*\)"$/\1/p' "/var/lib/rekeyd/delivered/$secret/current/env")
  [[ -n $process && $process == "$file" ]] || wrong "the process and the file differ"
  token=$(curl -fsS -m 2 --json @/etc/rekeyd/login.json http://127.0.0.1:3000/api/auth/login | jq -r .token)
  curl -fsS -m 2 -o /dev/null -H "Authorization: Bearer $token" http://127.0.0.1:3000/api/me || wrong "its own token is refused"
  [[ $process != "$value" ]] || [[ $generation == "$before" ]] || wrong "another generation, and the value is the same"
  [[ $process == "$value" ]] || [[ $generation != "$before" ]] || wrong "another value, and the generation is the same"
  value=$process
  rekeyctl verify "$secret" >/dev/null || wrong "rekeyctl verify fails"
}

look
value=$(sed -n 's/^JWT_SECRET="\(.*\)"$/\1/p' "/var/lib/rekeyd/delivered/$secret/current/env")
points=0
for ((n = first; n <= last; n += 2)); do
  # What the store was, for a daemon with a planted bug.
  rm -rf /var/lib/before
  cp -a "/var/lib/rekeyd/store/$secret" /var/lib/before
  before=$generation
  trap_it || { again; continue; }
  said=$(timeout 20 rekeyctl rotate "$secret" 2>&1); exit=$?
  ((exit != 124)) || { again; continue; }
  end_strace
  look
  case $exit in
    # Committed, whatever happened meanwhile.
    0) ((generation == before + 1)) || wrong "exit 0, and generation $before became $generation" ;;
    # It died before it had recorded the request, or before it could be asked.
    69 | 75) ((generation == before)) || wrong "exit $exit, and generation $before became $generation" ;;
    *) wrong "exit $exit: $said" ;;
  esac
  [[ $state == '"in-force"' ]] || wrong "the state is $state"
  [[ $rotation == null && $hold == null ]] || wrong "a rotation or a hold is left: $status"
  [[ -z $(find /var/lib/rekeyd /etc/systemd/system -name '.*') ]] || wrong "files are left: $(find /var/lib/rekeyd -name '.*')"
  judge
  # Nothing killed it.
  if [[ $(main_pid) == "$pid" ]]; then
    echo "over $n"
    break
  fi
  ((++points))
done
journalctl --sync
audit=$(rekeyctl audit "$secret" 2>&1) || echo "$call: the audit finds something: $(grep '✗' <<<"$audit")"
echo "points $points"
