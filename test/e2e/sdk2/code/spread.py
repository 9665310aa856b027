"""Started by torchrun, alone in its group."""

import sys

import torch.distributed as together

together.init_process_group("gloo")
sys.stdout.write(f"process {together.get_rank()} of {together.get_world_size()}, given {sys.argv[1:]}\n")
