"""Set-up, in parts: the processor, the accelerator, llama.cpp for both, and the environment.

Plain standard library, because it runs before anything is installed.
"""
