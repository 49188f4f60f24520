"""Where work is done: the devices of a process, several processes, models split over a mesh."""
