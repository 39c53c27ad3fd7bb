"""One screen a module. A screen asks the desk through a lane and hands rows to widgets."""
