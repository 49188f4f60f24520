#!/bin/bash
# A study on four hosts under Slurm: sbatch docs/slurm.sh; the same again goes on where it stopped.
#SBATCH --job-name=collapse
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=INT@120
# Two minutes before the time is up, the interrupt above makes every process save and end.
set -euo pipefail

# One task per host: on a CPU it uses all cores of --cpus-per-task. For GPUs, replace that line by
# --gpus-per-node=4 and leave one task per host, or start one task per GPU with --gpus-per-task=1.
srun collapse-jax simulate kde --workflow accumulate-subsample \
    --dataset moons --bandwidth 0.1 --n-samples 100 \
    --generations 10000 --seeds 100000 --metrics nll \
    --checkpoint chains --out kde.nc --distributed
