"""Stand-ins: what of the Slicer application the module needs and its MRML wheel lacks, over real MRML nodes."""
