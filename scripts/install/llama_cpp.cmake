# Read after `project(llama.cpp)`: what makes its build short.

# Its library of tools (chat templates, argument parsing, an HTTP client) is a third of the build,
# and gemma-edge uses none of it. llama-cpp-python turns it on in the cache; a normal variable is
# stronger.
set(LLAMA_BUILD_COMMON OFF)

# There is a small file for each architecture, and all of them read the same long headers: several
# are compiled as one. A file with functions of its own is left alone, because another may have one
# of the same name. (Microsoft's compiler has limits for one file, and nobody has tried it there.)
function(gemma_edge_join target folder)
  if(NOT TARGET ${target})
    return()
  endif()
  set(folder "${llama.cpp_SOURCE_DIR}/${folder}")
  file(GLOB files "${folder}/models/*.cpp")
  set(count 0)
  foreach(file IN LISTS files)
    file(STRINGS "${file}" own REGEX "^(static |#define |namespace |using )" LIMIT_COUNT 1)
    if(NOT own)
      math(EXPR group "${count} / 10")
      math(EXPR count "${count} + 1")
      set_source_files_properties("${file}" DIRECTORY "${folder}"
                                  PROPERTIES UNITY_GROUP "models${group}")
    endif()
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()

if(NOT MSVC AND NOT CMAKE_VERSION VERSION_LESS 3.19)  # at the end, when there are the targets
  cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL gemma_edge_join llama src)
  cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL gemma_edge_join mtmd tools/mtmd)
endif()
