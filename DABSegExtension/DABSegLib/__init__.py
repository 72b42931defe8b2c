"""DABSegLib: the module's own library; nothing in it needs torch, and only `panel` needs Qt."""
