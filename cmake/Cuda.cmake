# Where NVIDIA's compiler, headers and libraries are, if they are.
#   STRATA_CUDA            link the CUDA backend into strata-server (preset cuda)
#   STRATA_CUDA_TOOLCHAIN  a folder with bin/nvcc, include and lib64; empty: none

option(STRATA_CUDA "Link the CUDA backend into strata-server" OFF)

if(NOT STRATA_CUDA_TOOLCHAIN)
  set(STRATA_CUDA_TOOLCHAIN "" CACHE PATH "A CUDA toolkit: the folder that holds bin/nvcc")
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/cuda_toolchain.sh --where
                  OUTPUT_VARIABLE installed OUTPUT_STRIP_TRAILING_WHITESPACE)
  foreach(folder IN ITEMS "${installed}" "$ENV{CUDA_HOME}" /usr/local/cuda)
    if(folder AND EXISTS ${folder}/bin/nvcc AND NOT "$ENV{STRATA_CUDA}" STREQUAL "off")
      set(STRATA_CUDA_TOOLCHAIN ${folder})
      break()
    endif()
  endforeach()
endif()

if(STRATA_CUDA_TOOLCHAIN)
  message(STATUS "CUDA toolchain: ${STRATA_CUDA_TOOLCHAIN}")
elseif(STRATA_CUDA)
  message(FATAL_ERROR "STRATA_CUDA needs a CUDA toolkit: run scripts/cuda_toolchain.sh, or set "
                      "STRATA_CUDA_TOOLCHAIN to the folder that holds bin/nvcc")
else()
  message(STATUS "No CUDA toolchain: the CUDA backend is neither built nor tested "
                 "(scripts/cuda_toolchain.sh installs one)")
endif()
