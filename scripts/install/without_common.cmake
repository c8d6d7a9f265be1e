# Read after `project(llama.cpp)`: its library of tools (chat templates, argument parsing, an HTTP
# client) is a third of the build, and gemma-edge uses none of it. llama-cpp-python turns it on in
# the cache; a normal variable is stronger.
set(LLAMA_BUILD_COMMON OFF)
