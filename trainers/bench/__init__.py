"""What ranks of mpirun measure for ``datafeed bench``."""
