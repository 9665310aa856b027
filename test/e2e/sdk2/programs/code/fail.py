import sys


def check(rate):
    if rate <= 0:
        raise ValueError(f"the learning rate must be positive, not {rate}; naïve?")


print("checking what was given")
check(float(sys.argv[2]))
