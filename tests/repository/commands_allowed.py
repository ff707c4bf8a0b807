"""Programs that roles and playbooks run themselves, each with the reason why no module does it."""

#: (role or file of a playbook, program) → why.
COMMANDS: dict[tuple[str, str], str] = {
    ("benchmark_model.yaml", "systemd-run"): "no module makes a unit that lives only as long as it runs",
    ("common", "dpkg-query"): "package_facts needs python3-apt, which a blank host lacks",
    ("common", "stat"): "the module looks at one path a run",
    ("common", "visudo"): "no module judges sudo rules that are there already",
    (
        "docker",
        "docker",
    ): "the modules need a Python library on the host, only to ask if the engine answers",
    ("e2e-tests.yaml", "hearth"): "what a person at the host would type is what is tested",
    ("host_certificate", "cat"): "slurp reads one file a run",
    ("host_certificate", "stat"): "the module looks at one path a run",
    ("host_certificate", "systemctl"): "no module reloads a unit only where it runs",
    ("models", "python"): "no module goes on with a download that was cut off",
    ("preflight_checks", "date"): "both clocks must be read in one moment; a fact is older than that",
    ("preflight_checks", "df"): "no module tells the free space of a folder that is no mount point",
    ("preflight_checks", "find"): "the module tells modes, not whether the file system takes writes",
    ("nomad_job", "python"): "Hearth's own: what brings a job, and judges what became of it, is no template",
    (
        "preflight_checks",
        "{{ ansible_playbook_python }}",
    ): "Hearth's own: what is wrong with a site is no template",
    (
        "remove_host.yaml",
        "{{ ansible_playbook_python }}",
    ): "Hearth's own: what a host's farewell means is no template",
    (
        "remove_host_decide.yaml",
        "{{ ansible_playbook_python }}",
    ): "Hearth's own: what a host's farewell means is no template",
    ("program", "gpg"): "no module reads OpenPGP keys",
    ("program", "gpgv"): "no module checks an OpenPGP signature",
    (
        "program",
        "{{ ansible_playbook_python }}",
    ): "unarchive needs unzip, which Debian does not bring",
    ("program", "stat"): "the module looks at one path a run",
    ("program", "{{ program_go }}"): "no module builds Go programs",
    ("raft_cluster", "stat"): "the module that looks for files warns of folders that are not there",
    ("source_program", "cmake"): "no module configures a build",
    ("source_program", "nice"): "no module compiles; at the lowest priority, so that the host stays usable",
    ("source_program", "{{ item }}"): "what counts is whether the compiler runs, from wherever it came",
    ("take_backup.yaml", "{{ item.argv + [backup_place.path ~ '/' ~ item.file] }}"): (
        "only Consul and Nomad can tell whether a snapshot of theirs is whole"
    ),
    ("take_backup.yaml", "{{ vault_program }}"): "no module encrypts a file of bytes",
    ("wheel", "find"): "no module reads which files processes have mapped",
    ("wheel", "flock"): "no module collects wheels; two runs may share the folder",
    ("wheel", "python"): "only importing the programs shows that they start",
    ("wheel", "{{ __wheel_uv }}"): "no module speaks uv",
    ("wheel", "{{ ansible_playbook_python }}"): "no module builds wheels",
}
