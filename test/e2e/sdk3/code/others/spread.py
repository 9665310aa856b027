"""Two processes add up what each has."""

import os
import sys

import torch
import torch.distributed as together

together.init_process_group("gloo")
mine = torch.tensor([float(together.get_rank() + 1)])
together.all_reduce(mine)
# In one piece: two processes write into one log.
sys.stdout.write(f"process {together.get_rank()} of {together.get_world_size()} has {mine.item():g}\n")
if together.get_rank() == 0:
    sys.stdout.write(f"port {os.environ['MASTER_PORT']}\n")
