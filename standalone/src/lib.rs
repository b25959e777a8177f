//! Hearth on one machine: all roles in one process, and the command line.
