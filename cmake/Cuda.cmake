# Where NVIDIA's compiler, headers and libraries are, if they are.
#   STRATA_CUDA            link the CUDA backend into strata-server (preset cuda)
#   STRATA_CUDA_TOOLCHAIN  a folder with bin/nvcc, include and lib64; empty: none
# The environment's STRATA_CUDA=off: as if there were none.

option(STRATA_CUDA "Link the CUDA backend into strata-server" OFF)
set(STRATA_CUDA_TOOLCHAIN "" CACHE PATH "A CUDA toolkit: the folder that holds bin/nvcc")

if("$ENV{STRATA_CUDA}" STREQUAL "off" OR NOT EXISTS "${STRATA_CUDA_TOOLCHAIN}/bin/nvcc")
  set(STRATA_CUDA_TOOLCHAIN "" CACHE PATH "" FORCE)
endif()
if(NOT STRATA_CUDA_TOOLCHAIN AND NOT "$ENV{STRATA_CUDA}" STREQUAL "off")
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/cuda_toolchain.sh --where
                  OUTPUT_VARIABLE installed OUTPUT_STRIP_TRAILING_WHITESPACE)
  foreach(folder IN ITEMS "${installed}" "$ENV{CUDA_HOME}" /usr/local/cuda)
    if(EXISTS "${folder}/bin/nvcc")
      set(STRATA_CUDA_TOOLCHAIN "${folder}" CACHE PATH "" FORCE)
      break()
    endif()
  endforeach()
endif()

if(STRATA_CUDA_TOOLCHAIN)
  find_path(NCCL_INCLUDE_DIR NAMES nccl.h PATHS ${STRATA_CUDA_TOOLCHAIN}/include REQUIRED)
  find_library(NCCL_LIBRARY NAMES nccl PATHS ${STRATA_CUDA_TOOLCHAIN}/lib64 REQUIRED)
  message(STATUS "CUDA toolchain: ${STRATA_CUDA_TOOLCHAIN}")
elseif(STRATA_CUDA)
  message(FATAL_ERROR "STRATA_CUDA needs a CUDA toolkit: run scripts/cuda_toolchain.sh, or set "
                      "STRATA_CUDA_TOOLCHAIN to the folder that holds bin/nvcc")
else()
  message(STATUS "No CUDA toolchain: the CUDA backend is neither built nor tested "
                 "(scripts/cuda_toolchain.sh installs one)")
endif()
