//! Spill files: Arrow IPC files with a checksum a block, gone when dropped.
