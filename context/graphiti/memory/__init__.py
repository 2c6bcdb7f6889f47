"""The image's long-term memory: episodes queued in Valkey, kept as a Graphiti graph in FalkorDB.

The parts, in the direction of their imports:

    settings   the environment, read once into plain values
    stores     connections to FalkorDB and Valkey, and whether they answer
    graph      Graphiti on FalkorDB with the language model that was configured
    intake     the queue: each episode accepted once, kept until the graph has it
    service    what can be asked of the memory: record, search, status
    smoke      proves that a deployment can work
    server     the same as tools for OpenCode, over standard input and output
    cli        the same as commands

graphiti_core takes seconds to import, so only `graph` imports it, and only when it is needed.
"""
