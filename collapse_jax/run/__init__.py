"""Many chains, on devices and hosts, from the first generation to the last."""
