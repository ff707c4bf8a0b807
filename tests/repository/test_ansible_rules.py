"""The Ansible tree keeps its rules, and the rules can fail."""

from pathlib import Path

import pytest

from tests.repository import ansible_rules, cluster_rules, file_rules, unit_rules
from tests.repository.ansible_rules import programs_run, secret_variables
from tests.repository.ansible_tree import roles, tasks
from tests.repository.commands_allowed import COMMANDS
from tests.repository.unit_rules import UNITS

ROOT = Path(__file__).resolve().parents[2]
RULES = {
    name.removeprefix("rule_"): rule
    for module in (ansible_rules, cluster_rules, file_rules, unit_rules)
    for name, rule in vars(module).items()
    if name.startswith("rule_")
}

WANTED = """\
argument_specs:
  main:
    short_description: A role.
    options:
      web_port:
        description: Where it listens.
        type: int
        default: 1
"""
SAME_SITE = "  pre_tasks: [{ansible.builtin.import_role: {name: cluster_secrets, tasks_from: same_site}}]\n"
SECOND_PLAY = f"- hosts: all\n  tags: [always]\n{SAME_SITE}  roles: [preflight_checks]\n"
#: A small tree without a fault; each case below plants one.
SOUND = {
    "group_vars/all/main.yaml": "moe_gateway_service: moe-gateway\nweb_path: /srv\n",
    "group_vars/all/secrets.yaml": "cluster_secrets: \"{{ lookup('ansible.builtin.file', 'x') }}\"\n",
    "ansible/roles/web/defaults/main.yaml": "web_port: 1\n",
    "ansible/roles/web/meta/argument_specs.yaml": WANTED,
    "ansible/roles/web/meta/main.yaml": "galaxy_info: {author: Hearth}\n",
    "ansible/roles/web/tasks/main.yaml": "- {name: Say, ansible.builtin.debug: {msg: hello}}\n",
    "ansible/roles/web/molecule/default/molecule.yml": "platforms: []\n",
    "ansible/roles/web/molecule/default/converge.yml": "[]\n",
    "ansible/roles/web/molecule/default/verify.yml": "[]\n",
    "ansible/roles/web/templates/web.conf.j2": "# {{ ansible_managed }}\n",
    "docs/results/molecule.json": '[{"role": "web", "scenario": "default", "result": "passed"}]',
    "inventory.yaml": "all: {children: {workers: {hosts: {attic: {}}}}}\n",
    "host_vars/attic.yaml": "{host_power_managed: true, host_mac_address: '2c:f0:5d:11:22:33'}\n",
    "playbook.yaml": "- {hosts: localhost, tags: [always], roles: [preflight_checks]}\n"
    + SECOND_PLAY
    + "- hosts: all\n  roles: [consul, nomad, wheel, llama_cpp, bootstrap_agent, pipecatapp, moe_gateway]\n",
    "heal_cluster.yaml": "- hosts: controllers[0]\n" + SAME_SITE + "  roles: [bootstrap_agent, pipecatapp]\n",
}
TASKS = "ansible/roles/web/tasks/more.yaml"
PLAYBOOK = SOUND["playbook.yaml"]


def planted(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {**SOUND, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def breaches(rule: str, root: Path) -> list[str]:
    return list(RULES[rule](root))


@pytest.mark.req(
    "PRV-02",
    "PRV-03",
    "PRV-09",
    "PRV-10",
    "PRV-12",
    "PRV-13",
    "PRV-14",
    "PRV-16",
    "PRV-18",
    "PRV-24",
    "PRV-31",
    "PRV-32",
    "PRV-33",
    "PRV-37",
    "DOC-01",
    "GTW-01",
    "GTW-14",
)
@pytest.mark.parametrize("name", RULES)
def test_the_ansible_tree_keeps_the_rule(name: str) -> None:
    assert breaches(name, ROOT) == []


def test_there_is_a_tree_to_judge() -> None:
    assert len(roles(ROOT)) > 10
    assert len(list(tasks(ROOT))) > 100
    assert len(secret_variables(ROOT)) > 1


@pytest.mark.req("PRV-13")
def test_no_reason_is_kept_for_a_program_that_nobody_runs_any_more() -> None:
    assert COMMANDS.keys() - programs_run(ROOT).keys() == set()


@pytest.mark.req(
    "PRV-02",
    "PRV-03",
    "PRV-09",
    "PRV-10",
    "PRV-12",
    "PRV-13",
    "PRV-14",
    "PRV-16",
    "PRV-18",
    "PRV-24",
    "PRV-31",
    "PRV-32",
    "PRV-33",
    "PRV-37",
)
@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        ("every_role_is_whole", "ansible/roles/shop/tasks/main.yaml", "[]"),
        (
            "every_scenario_runs_twice_and_verifies",
            "ansible/roles/web/molecule/default/molecule.yml",
            "scenario: {test_sequence: [create, converge, verify]}",
        ),
        (
            "every_scenario_runs_twice_and_verifies",
            "ansible/molecule/config.yml",
            "scenario: {test_sequence: [create, converge, verify]}",
        ),
        ("every_scenarios_last_run_passed", "docs/results/molecule.json", "[]"),
        (
            "every_scenarios_last_run_passed",
            "docs/results/molecule.json",
            '[{"role": "web", "scenario": "default", "result": "failed"}]',
        ),
        ("argument_specs_and_defaults_agree", "ansible/roles/web/defaults/main.yaml", "web_port: 2"),
        (
            "argument_specs_and_defaults_agree",
            "ansible/roles/web/defaults/main.yaml",
            "{web_port: 1, web_a: 1}",
        ),
        ("argument_specs_and_defaults_agree", "ansible/roles/web/defaults/main.yaml", "{}"),
        (
            "argument_specs_and_defaults_agree",
            "ansible/roles/web/meta/argument_specs.yaml",
            WANTED.replace("        description: Where it listens.\n", ""),
        ),
        ("variables_carry_their_roles_name", "ansible/roles/web/defaults/main.yaml", "port: 1"),
        ("variables_carry_their_roles_name", TASKS, "- {ansible.builtin.stat: {path: /}, register: found}"),
        ("variables_carry_their_roles_name", TASKS, "- ansible.builtin.set_fact: {web_found: 1}"),
        ("variables_carry_their_roles_name", TASKS, "- {ansible.builtin.debug: {msg: x}, vars: {a: 1}}"),
        (
            "variables_carry_their_roles_name",
            TASKS,
            "- {ansible.builtin.include_tasks: '{{ role_path }}/../shop/tasks/sell.yaml', vars: {mall_a: 1}}",
        ),
        ("modules_have_full_names", TASKS, "- debug: {msg: x}"),
        (
            "modules_have_full_names",
            "ansible/playbooks/a.yaml",
            "- {hosts: all, tasks: [{block: [{ping: {}}]}]}",
        ),
        ("lookups_have_full_names", TASKS, "- ansible.builtin.debug: {msg: \"{{ lookup('env', 'HOME') }}\"}"),
        (
            "no_fact_is_taken_from_an_injected_variable",
            TASKS,
            '- {x.y.z: "{{ ansible_default_ipv4.address }}"}',
        ),
        (
            "no_fact_is_taken_from_an_injected_variable",
            "ansible/roles/web/templates/a.j2",
            "{{ ansible_hostname }}",
        ),
        ("programs_say_when_they_change_something", TASKS, "- ansible.builtin.command: ls /"),
        (
            "programs_say_when_they_change_something",
            TASKS,
            "- {ansible.builtin.raw: ls, changed_when: false}",
        ),
        (
            "programs_are_run_where_no_module_does_it",
            TASKS,
            "- {ansible.builtin.command: /bin/chmod 1 /x, changed_when: true}",
        ),
        ("nothing_waits_by_sleeping", TASKS, "- ansible.builtin.pause: {seconds: 5}"),
        ("nothing_waits_by_sleeping", TASKS, "- ansible.builtin.wait_for: {timeout: 5}"),
        ("nothing_waits_by_sleeping", TASKS, "- {ansible.builtin.shell: make; sleep 5, changed_when: true}"),
        (
            "tasks_with_secrets_print_nothing",
            TASKS,
            '- ansible.builtin.uri: {url: x, body: "{{ cluster_secrets.client_key }}"}',
        ),
        (
            "tasks_with_secrets_print_nothing",
            TASKS,
            "- {ansible.builtin.copy: {content: '{{ cluster_secrets.client_key }}', dest: /x}, no_log: true}",
        ),
        (
            "tasks_with_secrets_print_nothing",
            TASKS,
            "- {ansible.builtin.debug: {}, vars: {host_files_wanted: '{{ web_files }}'}}",
        ),
        (
            "what_is_handed_to_a_role_means_the_same_inside_it",
            TASKS,
            "- {ansible.builtin.include_role: {name: shop}, vars: {shop_dir: '{{ role_path }}/files'}}",
        ),
        (
            "what_is_handed_to_a_role_means_the_same_inside_it",
            TASKS,
            "- {ansible.builtin.import_role: {name: shop}, vars: {shop_of: {by: ['{{ role_name }}']}}}",
        ),
        (
            "what_is_handed_to_a_role_means_the_same_inside_it",
            TASKS,
            "- {vars: {shop_dir: '{{ role_path }}'}, block: [{ansible.builtin.include_role: {name: shop}}]}",
        ),
        (
            "what_is_handed_to_a_role_means_the_same_inside_it",
            "playbook.yaml",
            PLAYBOOK + "- {hosts: all, roles: [{role: web, web_port: '{{ role_name }}'}]}\n",
        ),
        (
            "what_is_handed_to_a_role_means_the_same_inside_it",
            "ansible/roles/web/meta/main.yaml",
            "dependencies: [{role: shop, vars: {shop_dir: '{{ ansible_search_path }}'}}]",
        ),
        (
            "configuration_is_templates",
            "ansible/roles/web/files/web.service",
            "[Service]",
        ),
        ("configuration_is_templates", "ansible/jobs/app.nomad", "job"),
        ("configuration_is_templates", "ansible/roles/web/files/start.sh", "exit 0"),
        (
            "configuration_is_templates",
            TASKS,
            "- ansible.builtin.copy: {dest: /etc/web.conf, content: 'port = 1'}",
        ),
        ("variables_hold_no_secrets", "ansible/roles/web/defaults/main.yaml", "web_password: swordfish"),
        ("variables_hold_no_secrets", "group_vars/all/main.yaml", "web: {keys: [swordfish]}"),
        (
            "no_unit_starts_what_nomad_runs",
            "ansible/roles/web/templates/gateway.service.j2",
            "[Service]\nExecStart=/usr/bin/python3 -m moe_gateway\n",
        ),
        (
            "no_unit_starts_what_nomad_runs",
            TASKS,
            "- ansible.builtin.systemd_service: {name: llama-services, state: started}",
        ),
        (
            "no_unit_starts_what_nomad_runs",
            "ansible/roles/web/templates/consul.service.j2",
            "[Service]\nExecStart=/usr/local/bin/consul agent\nExecStartPost=-/opt/hearth/bin/hearth up\n",
        ),
        ("no_unit_starts_what_nomad_runs", "bootstrap.sh", "cat <<X\n[Service]\nX\n"),
        (
            "no_unit_starts_what_nomad_runs",
            TASKS,
            "- ansible.builtin.systemd_service: {name: hearth.service, enabled: true}",
        ),
        (
            "no_unit_starts_what_nomad_runs",
            TASKS,
            "- ansible.builtin.systemd_service: {name: '{{ web_program }}', state: started}",
        ),
        ("no_unit_starts_what_nomad_runs", TASKS, "- ansible.builtin.cron: {name: a, job: hearth up}"),
        (
            "no_unit_starts_what_nomad_runs",
            TASKS,
            "- ansible.builtin.copy: {dest: /etc/x, content: '[Service]'}",
        ),
        (
            "units_run_as_users_of_their_own",
            "ansible/roles/web/templates/consul.service.j2",
            "[Service]\nExecStart=/usr/local/bin/consul agent\n",
        ),
        (
            "units_run_as_users_of_their_own",
            "ansible/roles/web/templates/consul.service.j2",
            "[Service]\nUser=root\nExecStart=/usr/local/bin/consul agent\n",
        ),
        (
            "every_job_has_one_owner",
            TASKS,
            "- {ansible.builtin.include_role: {name: nomad_job}, vars: {nomad_job_id: a}}\n" * 2,
        ),
        ("every_job_has_one_owner", "ansible/roles/web/templates/web.nomad.j2", "job"),
        ("every_job_has_one_owner", "bootstrap.sh", "nomad job run web.nomad"),
        ("every_job_has_one_owner", "Makefile", "up:\n\tnomad run web.nomad\n"),
        ("every_job_has_one_owner", TASKS, "- ansible.builtin.include_role: {name: nomad_job}"),
        (
            "every_job_has_one_owner",
            TASKS,
            "- {ansible.builtin.command: nomad job run x, changed_when: true}",
        ),
        (
            "every_job_has_one_owner",
            TASKS,
            "- ansible.builtin.uri: {url: 'https://h/v1/jobs', method: POST}",
        ),
        ("every_job_has_one_owner", "ansible/roles/web/templates/start.sh.j2", "nomad job run x.nomad"),
        ("every_job_has_one_owner", "ansible/roles/web/templates/start.sh.j2", "nomad job dispatch x"),
        (
            "nobody_gets_sudo_without_a_password",
            "ansible/roles/web/templates/a.j2",
            "x ALL=(ALL) NOPASSWD: ALL",
        ),
        (
            "nobody_gets_sudo_without_a_password",
            TASKS,
            "- ansible.builtin.copy: {dest: /x, content: 'x ALL=(ALL) NOPASSWD: ALL'}",
        ),
        (
            "the_playbook_runs_the_roles_in_order",
            "playbook.yaml",
            PLAYBOOK.replace("pipecatapp, moe_gateway", "moe_gateway, pipecatapp"),
        ),
        (
            "the_playbook_runs_the_roles_in_order",
            "playbook.yaml",
            PLAYBOOK.replace("bootstrap_agent, pipecatapp", "pipecatapp, bootstrap_agent"),
        ),
        (
            "the_playbook_runs_the_roles_in_order",
            "playbook.yaml",
            PLAYBOOK.replace("llama_cpp, bootstrap_agent", "bootstrap_agent, llama_cpp"),
        ),
        ("the_playbook_runs_the_roles_in_order", "playbook.yaml", PLAYBOOK.replace("llama_cpp, ", "")),
        ("preflight_comes_first", "playbook.yaml", "- {hosts: all, roles: [consul]}\n" + PLAYBOOK),
        (
            "preflight_comes_first",
            "playbook.yaml",
            PLAYBOOK.replace("roles:", "pre_tasks: [{ansible.builtin.file: {path: /x}}], roles:", 1),
        ),
        (
            "preflight_comes_first",
            "playbook.yaml",
            PLAYBOOK.replace(SECOND_PLAY, SECOND_PLAY + "  tasks: [{ansible.builtin.file: {path: /x}}]\n"),
        ),
        ("preflight_comes_first", "playbook.yaml", PLAYBOOK.replace("tags: [always]", "tags: [a]", 1)),
        (
            "preflight_comes_first",
            "playbook.yaml",
            PLAYBOOK.replace(SECOND_PLAY, ""),
        ),
        (
            "healing_starts_the_agent_on_the_primary",
            "heal_cluster.yaml",
            "- hosts: controllers\n  roles: [bootstrap_agent, pipecatapp]\n",
        ),
        (
            "healing_starts_the_agent_on_the_primary",
            "heal_cluster.yaml",
            "- hosts: controllers[0]\n  roles: [pipecatapp, bootstrap_agent]\n",
        ),
        (
            "every_playbook_sees_whose_hosts_they_are",
            "ansible/playbooks/a.yaml",
            "- {hosts: localhost, tasks: []}\n- {hosts: controllers, roles: [web]}\n",
        ),
        (
            "every_playbook_sees_whose_hosts_they_are",
            "heal_cluster.yaml",
            SOUND["heal_cluster.yaml"].replace(
                "pre_tasks: [", "pre_tasks: [{ansible.builtin.file: {path: /x}}, "
            ),
        ),
        ("every_playbook_sees_whose_hosts_they_are", "ansible/playbooks/a.yaml", "- {hosts: all, tasks: []}"),
        ("obsolete_folders_are_gone", "debian_service/hearth.service", "x"),
        ("obsolete_folders_are_gone", "README.md", "see initial-setup/"),
        ("obsolete_folders_are_gone", "docs/cluster.md", "as debian_service did"),
        ("obsolete_folders_are_gone", "hearth/up.py", "SETUP = 'initial-setup'"),
        (
            "hosts_with_power_management_have_a_mac_address",
            "host_vars/attic.yaml",
            "{host_power_managed: true, host_mac_address: '2c:f0:5d:11:22'}",
        ),
        (
            "hosts_with_power_management_have_a_mac_address",
            "host_vars/attic.yaml",
            "host_power_managed: true",
        ),
        ("service_names_are_variables", TASKS, '- ansible.builtin.debug: {msg: "moe-gateway"}'),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, rule: str, file: str, text: str) -> None:
    assert breaches(rule, planted(tmp_path, {})) == []
    assert breaches(rule, planted(tmp_path, {file: text})) != []


def test_every_rule_has_a_planted_breach() -> None:
    told = (ROOT / "tests/repository/test_ansible_rules.py").read_text()
    assert [rule for rule in RULES if f'"{rule}"' not in told] == []


@pytest.mark.req("PRV-13")
def test_every_program_that_is_run_has_its_reason() -> None:
    assert [key for key, reason in COMMANDS.items() if len(reason.split()) < 4] == []


@pytest.mark.req("PRV-33")
def test_every_unit_that_runs_as_root_has_its_reason_and_no_other_has_one() -> None:
    for name, unit in UNITS.items():
        assert (unit.user == "root") == (len(unit.why_root.split()) > 3), name


def test_a_variable_made_of_the_roles_path_is_not_handed_on_either(tmp_path: Path) -> None:
    root = planted(
        tmp_path,
        {
            "ansible/roles/web/vars/main.yaml": '__web_a: "{{ role_path }}"\n__web_b: "{{ __web_a }}/a"\n',
            TASKS: "- {ansible.builtin.include_role: {name: shop}, vars: {shop_dir: '{{ __web_b }}'}}",
        },
    )
    assert breaches("what_is_handed_to_a_role_means_the_same_inside_it", root) == [
        f"{TASKS}:1: shop_dir hands __web_b to the role shop, where it is another one"
    ]


@pytest.mark.req("PRV-37")
def test_a_variable_made_of_a_secret_is_a_secret(tmp_path: Path) -> None:
    root = planted(
        tmp_path,
        {
            "ansible/roles/web/defaults/main.yaml": 'web_a: "{{ cluster_secrets.x }}"\nweb_b: "{{ web_a }}"\n'
            'web_c: "{{ cluster_secrets.ca_certificate }}"\n'
        },
    )
    assert secret_variables(root) == {"cluster_secrets", "web_a", "web_b"}


@pytest.mark.req("PRV-37")
def test_a_template_that_holds_a_secret_counts_for_the_task_that_writes_it(tmp_path: Path) -> None:
    root = planted(
        tmp_path,
        {
            "ansible/roles/web/templates/key.j2": "{{ cluster_secrets.client_key }}",
            TASKS: "- ansible.builtin.template: {src: key.j2, dest: /x}",
        },
    )
    assert len(breaches("tasks_with_secrets_print_nothing", root)) == 2


def test_a_file_that_shows_a_secret_is_written_as_a_secret_one(tmp_path: Path) -> None:
    wanted = (
        "- ansible.builtin.import_role: {name: host_files}\n  vars: {host_files_wanted: [{src: key.j2%s}]}\n"
    )
    template = {"ansible/roles/web/templates/key.j2": "{{ cluster_secrets.client_key }}\n"}
    rule = "tasks_with_secrets_print_nothing"
    assert len(breaches(rule, planted(tmp_path, {**template, TASKS: wanted % ""}))) == 1
    assert breaches(rule, planted(tmp_path, {TASKS: wanted % ", secret: true"})) == []


def test_what_a_block_says_counts_for_its_tasks(tmp_path: Path) -> None:
    quiet = "- no_log: true\n  block: [{ansible.builtin.debug: {msg: '{{ cluster_secrets.client_key }}'}}]\n"
    assert breaches("tasks_with_secrets_print_nothing", planted(tmp_path, {TASKS: quiet})) == []


@pytest.mark.parametrize(("role", "allowed"), [("common", True), ("web", False)])
def test_only_a_role_that_the_list_names_may_run_the_program(
    tmp_path: Path, role: str, allowed: bool
) -> None:
    assert {key for key in COMMANDS if key[1] == "visudo"} == {("common", "visudo")}
    runs = "- {ansible.builtin.command: {argv: [/usr/sbin/visudo, --check]}, changed_when: true}"
    tree = planted(tmp_path, {f"ansible/roles/{role}/tasks/main.yaml": runs})
    assert (breaches("programs_are_run_where_no_module_does_it", tree) == []) == allowed


@pytest.mark.parametrize(("other", "allowed"), [("nomad", True), ("hearth", False)])
def test_a_unit_that_a_variable_names_may_be_each_that_the_role_lets_it_be(
    tmp_path: Path, other: str, allowed: bool
) -> None:
    starts = "- ansible.builtin.systemd_service: {name: '{{ web_unit }}', state: started}"
    choices = f"argument_specs: {{main: {{options: {{web_unit: {{choices: [consul, {other}]}}}}}}}}"
    tree = planted(tmp_path, {TASKS: starts, "ansible/roles/web/meta/argument_specs.yaml": choices})
    assert (breaches("no_unit_starts_what_nomad_runs", tree) == []) == allowed
