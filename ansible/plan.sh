#!/bin/sh
# What playbook.yaml would change and what that would mean; changes nothing. Further arguments go to
# ansible-playbook. Ends with 0: nothing would change; 2: something would; 1: the plan could not be made.
set -u

cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
ANSIBLE_NOCOLOR=1
export PATH ANSIBLE_NOCOLOR

ansible-playbook --check --diff ansible/playbooks/plan.yaml "$@" | awk '
  { print; fflush() }
  /^(TASK|RUNNING HANDLER) \[/ {
    handler = /^RUNNING HANDLER/
    task = $0
    sub(/^[A-Z ]*\[/, "", task)
    sub(/\] \**$/, "", task)
  }
  # "changed: [attic]", or "changed: [attic -> cellar(192.168.1.12)]" when it is done elsewhere.
  /^changed: \[/ {
    host = $2
    gsub(/[\[\]]/, "", host)
    line = "  " host ": " task
    if (match($0, /\(item=.*\)/) && !/censored/) line = line " " substr($0, RSTART, RLENGTH)
    sub(/\(item=/, "(", line)
    if (!(line in seen)) {
      seen[line] = 1
      if (handler) restarts = restarts line "\n"
      else changes = changes line "\n"
    }
  }
  /^    msg: .*(Consul|Nomad): .*(servers healthy|no cluster)/ { quorum = quorum "  " substr($0, index($0, ":") + 2) "\n"; more = 1; next }
  more && /^        / { sub(/^ */, " "); sub(/\n$/, "", quorum); quorum = quorum $0 "\n" }
  { more = 0 }
  /^[^ ]+ +: ok=[0-9]+ .*changed=/ {
    recaps++
    for (i = 2; i <= NF; i++) {
      split($i, part, "=")
      if (part[1] == "failed" || part[1] == "unreachable") broken += part[2]
    }
  }
  END {
    gsub(/\047/, "", quorum)
    print "\nPLAN"
    print changes == "" && restarts == "" ? "Nothing would change." : "Would change:"
    printf "%s", changes
    if (restarts != "") {
      print "Would follow, on one host after the other, each behind a look at the cluster'"'"'s health:"
      printf "%s", restarts
      print "Work goes on while Consul or Nomad restarts; jobs that change are listed with their diff above."
    }
    if (quorum != "") printf "Servers:\n%s", quorum
    if (broken || !recaps) { print "The plan is not whole: something failed above."; exit 1 }
    exit changes == "" && restarts == "" ? 0 : 2
  }
'
