"""What a training job was given, and what its script is told about it.

Reads the three files the platform writes under /opt/ml/input/config and derives
from them the SM_* environment variables and the command-line arguments of script
mode. Nothing here starts processes or changes the disk.

The names and forms of the variables are facts of the public sagemaker-training
toolkit (5.1.4); testdata/oracle holds what that toolkit makes of the same inputs.
"""

import os

import fastjson

# sagemaker_* hyperparameters the toolkit knows by name. Any other with that prefix
# is a setting of the framework (SM_FRAMEWORK_PARAMS). Neither reaches the user.
PLATFORM_NAMES = frozenset(
    (
        "sagemaker_program",
        "sagemaker_submit_directory",
        "sagemaker_enable_cloudwatch_metrics",
        "sagemaker_region",
        "sagemaker_container_log_level",
        "sagemaker_job_name",
        "sagemaker_s3_output",
        "default_user_module_name",
        "_tuning_objective_metric",
    )
)
PLATFORM_PREFIX = "sagemaker_"

# Settings under which more than one process shares the work; any of them makes the
# job's instance group a "distribution" group.
DISTRIBUTIONS = (
    "sagemaker_mpi_enabled",
    "sagemaker_parameter_server_enabled",
    "sagemaker_distributed_dataparallel_enabled",
    "sagemaker_pytorch_ddp_enabled",
    "sagemaker_pytorch_xla_multi_worker_enabled",
    "sagemaker_multi_worker_mirrored_strategy_enabled",
    "sagemaker_torch_distributed_enabled",
)

DEFAULT_GROUP = "homogeneousCluster"
DEFAULT_INTERFACE = "eth0"
INFO = 20

# Linux refuses a single argument or variable of more than 128 KiB (MAX_ARG_STRLEN).
LONGEST_STRING = 128 * 1024 - 1


class JobError(Exception):
    """The job cannot run as it was asked; the message is meant for its owner."""


class Job:
    """One training job as its configuration files describe it."""

    def __init__(self, root, environ):
        self.root = root
        self.environ = environ
        self.code_dir = os.path.join(root, "code")
        self.input_dir = os.path.join(root, "input")
        self.config_dir = os.path.join(self.input_dir, "config")
        self.output_dir = os.path.join(root, "output")
        self.model_dir = os.path.join(root, "model")

        self.resources = self._read("resourceconfig.json")
        self.inputs = self._read("inputdataconfig.json")
        values = self._read("hyperparameters.json")
        decoded = {name: decode(value) for name, value in values.items()}
        self.platform = {n: v for n, v in decoded.items() if n in PLATFORM_NAMES or n.startswith(PLATFORM_PREFIX)}
        self.framework = {n: v for n, v in self.platform.items() if n not in PLATFORM_NAMES}
        self.hyperparameters = {n: v for n, v in decoded.items() if n not in self.platform}

        self.name = environ.get("TRAINING_JOB_NAME")
        self.program = environ.get("SAGEMAKER_PROGRAM") or self.platform.get("sagemaker_program")
        self.submit_dir = str(self.platform.get("sagemaker_submit_directory", self.code_dir))
        self.log_level = self.platform.get("sagemaker_container_log_level", INFO)
        self._read_hosts()

    def _read(self, name):
        path = os.path.join(self.config_dir, name)
        try:
            with open(path, "rb") as file:
                value = fastjson.loads(file.read().decode("utf-8"))
        except OSError as error:
            raise JobError("cannot read the job's configuration: %s" % error)
        except ValueError as error:
            raise JobError("%s is not JSON: %s" % (path, error))
        if not isinstance(value, dict):
            raise JobError("%s does not hold a JSON object" % path)
        return value

    def _read_hosts(self):
        resources = self.resources
        try:
            self.hosts = resources["hosts"]
            self.host = resources["current_host"]
        except KeyError as missing:
            raise JobError("resourceconfig.json has no %s" % missing)
        if not isinstance(self.hosts, list) or self.host not in self.hosts:
            raise JobError("resourceconfig.json: current_host %r is not one of hosts %r" % (self.host, self.hosts))
        self.instance_type = resources.get("current_instance_type", "local")
        self.group = resources.get("current_group_name", DEFAULT_GROUP)
        self.interface = resources.get("network_interface_name", DEFAULT_INTERFACE)
        self.groups = {g["instance_group_name"]: g for g in resources.get("instance_groups", [])}
        distributed = any(self.framework.get(name) for name in DISTRIBUTIONS)
        self.distribution_groups = self.framework.get(
            "sagemaker_distribution_instance_groups", [self.group] if distributed else []
        )
        if self.groups:
            shared = [g for name, g in self.groups.items() if name in self.distribution_groups]
            self.distribution_hosts = [host for g in shared for host in g["hosts"]]
        else:
            self.distribution_hosts = list(self.hosts)
        self.master = (self.distribution_hosts or self.hosts)[0]

    @property
    def quiet(self):
        """Whether the owner asked for less than informational messages."""
        return isinstance(self.log_level, int) and self.log_level > INFO

    def arguments(self):
        """The hyperparameters as the script's arguments, sorted by name."""
        result = []
        for name in sorted(self.hyperparameters):
            value = self.hyperparameters[name]
            if isinstance(value, dict):
                value = ",".join("%s=%s" % pair for pair in sorted(value.items()))
            flag = "--" + name if len(name) > 1 else "-" + name
            result += [flag if name else "", "" if value is None else str(value)]
        return result

    def variables(self):
        """The SM_* variables, and the few without that prefix which containers set."""
        properties = self._properties()
        values = {name: properties[name] for name in _AS_VARIABLES}
        values["hps"] = self.hyperparameters
        values["framework_params"] = self.framework
        values["channels"] = sorted(self.inputs)
        values["user_args"] = self.arguments()
        values["training_env"] = properties
        if properties["topology"]:
            values["topology"] = properties["topology"]
        for channel, path in properties["channel_input_dirs"].items():
            values["channel_" + channel] = path
        for name, value in self.hyperparameters.items():
            values["hp_" + name] = value
        result = {"SM_" + name.upper(): encode(value) for name, value in values.items()}
        result.update(self._container_variables())
        return result

    def _properties(self):
        """The toolkit's whole view of the job, which is SM_TRAINING_ENV."""
        own_group = self.groups.get(self.group, {})
        program = self.program
        module = program[:-3] if isinstance(program, str) and program.endswith(".py") else str(program)
        return {
            "additional_framework_parameters": self.framework,
            "channel_input_dirs": {c: os.path.join(self.input_dir, "data", c) for c in self.inputs},
            "current_host": self.host,
            "current_instance_group": self.group,
            "current_instance_group_hosts": own_group.get("hosts", []),
            "current_instance_type": self.instance_type,
            "distribution_hosts": self.distribution_hosts,
            "distribution_instance_groups": self.distribution_groups,
            "framework_module": self.environ.get("SAGEMAKER_TRAINING_MODULE"),
            "hosts": self.hosts,
            "hyperparameters": self.hyperparameters,
            "input_config_dir": self.config_dir,
            "input_data_config": self.inputs,
            "input_dir": self.input_dir,
            "instance_groups": list(self.groups),
            "instance_groups_dict": self.groups,
            "is_hetero": len(self.groups) > 1,
            "is_master": self.host == self.master,
            "is_modelparallel_enabled": None,
            "is_smddpmprun_installed": False,
            "is_smddprun_installed": False,
            "job_name": self.name,
            "log_level": self.log_level,
            "master_hostname": self.master,
            "model_dir": self.model_dir,
            "module_dir": self.submit_dir,
            "module_name": module,
            "network_interface_name": self.interface,
            "num_cpus": count_cpus(self.environ),
            "num_gpus": count_gpus(),
            "num_neurons": 0,
            "output_data_dir": os.path.join(self.output_dir, "data"),
            "output_dir": self.output_dir,
            "output_intermediate_dir": os.path.join(self.output_dir, "intermediate"),
            "resource_config": self.resources,
            "topology": self.resources.get("topology", []),
            "user_entry_point": program,
        }

    def _container_variables(self):
        """What framework images set besides: read by scripts, so part of the contract."""
        environ = self.environ
        region = self.platform.get("sagemaker_region") or environ.get("AWS_REGION", environ.get("AWS_DEFAULT_REGION", ""))
        result = {
            "CURRENT_HOST": str(self.host),
            "SAGEMAKER_JOB_NAME": str(self.platform.get("sagemaker_job_name", "")),
            "SAGEMAKER_REGION": str(region),
        }
        defaults = {
            "SM_INPUT": self.input_dir,
            "SM_INPUT_TRAINING_CONFIG_FILE": os.path.join(self.config_dir, "hyperparameters.json"),
            "SM_INPUT_DATA_CONFIG_FILE": os.path.join(self.config_dir, "inputdataconfig.json"),
            "SM_CHECKPOINT_CONFIG_FILE": os.path.join(self.config_dir, "checkpointconfig.json"),
            "MASTER_ADDR": str(self.master),
            "MASTER_PORT": str(self.master_port()),
            # Logs are watched live, and framework images say the same.
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        result.update((name, value) for name, value in defaults.items() if name not in environ)
        return result

    def master_port(self):
        """The rendezvous port: the same on every host of a job, seldom that of another job.

        Framework images use 7777, each in its own network. Jobs of one machine may
        share a network here, so the port comes from the job's name, below the range
        the kernel gives to clients.
        """
        given = self.environ.get("MASTER_PORT", "")
        if given.isdigit():
            return int(given)
        if not self.name:
            return 7777
        import zlib

        return 20000 + zlib.crc32(self.name.encode("utf-8", "replace")) % 10000


# Properties that are also variables of their own.
_AS_VARIABLES = (
    "current_host",
    "current_instance_group",
    "current_instance_group_hosts",
    "current_instance_type",
    "distribution_instance_groups",
    "framework_module",
    "hosts",
    "input_config_dir",
    "input_data_config",
    "input_dir",
    "instance_groups",
    "instance_groups_dict",
    "is_hetero",
    "log_level",
    "model_dir",
    "module_dir",
    "module_name",
    "network_interface_name",
    "num_cpus",
    "num_gpus",
    "num_neurons",
    "output_data_dir",
    "output_dir",
    "output_intermediate_dir",
    "resource_config",
    "user_entry_point",
)


def decode(value):
    """A hyperparameter's value: JSON where it is JSON (SDK 2.x quotes), else as it came."""
    if not isinstance(value, str):
        return value
    try:
        return fastjson.loads(value)
    except (ValueError, RecursionError):
        return value


def encode(value):
    """A value as the text of an environment variable."""
    if value is None:
        return ""
    return value if isinstance(value, str) else fastjson.dumps(value)


def count_cpus(environ):
    """The job's processors: its limit where the platform tells it, else the machine's."""
    told = environ.get("STINT_NUM_CPUS", "")
    return int(told) if told.isdigit() else os.cpu_count() or 1


def count_gpus():
    """The NVIDIA devices this job can see; asking nvidia-smi takes a second."""
    try:
        names = os.listdir("/dev")
    except OSError:
        return 0
    return sum(1 for name in names if name.startswith("nvidia") and name[6:].isdigit())


def process_environment(environ, variables):
    """environ with variables laid over it, as bytes that a process can be started with.

    Returns it with the names left out: those no process can be given (an "=" in a
    hyperparameter's name, a value over the kernel's limit). The configuration files
    still hold their values.
    """
    result = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
    left_out = []
    for name, value in variables.items():
        key, text = to_bytes(name), to_bytes(value)
        if b"=" in key or b"\0" in key + text or len(key) + len(text) >= LONGEST_STRING:
            left_out.append(name)
        else:
            result[key] = text
    return result, sorted(left_out)


def to_bytes(text):
    """UTF-8 whatever the locale; what UTF-8 cannot hold is spelled out."""
    return text.encode("utf-8", "backslashreplace")
