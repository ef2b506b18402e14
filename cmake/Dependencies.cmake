# Third-party libraries, from the distribution's packages.
#
# Two targets are made here because the packages' own do not work for us:
# libsentencepiece.so exports a second, older protobuf. Where it meets a shared
# libprotobuf or libgrpc in one process, the process crashes at start. So gRPC,
# protobuf and Abseil are linked from their static archives, and their symbols
# are kept out of the dynamic symbol table.
#   strata_absl  Abseil's status, strings, synchronization (no gRPC)
#   strata_grpc  gRPC++, its reflection service, protobuf, and the Abseil above

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)  # for the code generator's location only
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(GTest REQUIRED)
find_package(OpenSSL REQUIRED)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)

# Turns `pkg-config --static --libs PACKAGES` into a link line in which every
# library that must not be shared is named by its archive.
function(strata_static_link_line out)
  execute_process(COMMAND ${PKG_CONFIG_EXECUTABLE} --static --libs ${ARGN}
                  OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags)
  set(archives "")
  set(shared "")
  foreach(flag IN LISTS flags)
    if(flag MATCHES "^-l(grpc|grpc\\+\\+|gpr|upb|address_sorting|re2|cares|absl_.*)$")
      find_library(archive_${CMAKE_MATCH_1} NAMES lib${CMAKE_MATCH_1}.a REQUIRED)
      list(APPEND archives ${archive_${CMAKE_MATCH_1}})
    elseif(flag MATCHES "^-l")
      list(APPEND shared ${flag})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES archives)
  list(REMOVE_DUPLICATES shared)
  set(${out}_archives ${archives} PARENT_SCOPE)
  set(${out}_shared ${shared} PARENT_SCOPE)
endfunction()

# Abseil's locks and gRPC's calls, such that ThreadSanitizer sees their order; before the archives that
# have the others.
set(locks "")
set(calls "")
if(STRATA_SANITIZE MATCHES "thread")
  add_library(strata_tsan_locks STATIC tests/sanitizers/absl_mutex.cc)
  target_link_libraries(strata_tsan_locks PRIVATE strata_flags)
  set(locks -Wl,-u,strata_absl_mutex strata_tsan_locks)
  add_library(strata_tsan_calls STATIC tests/sanitizers/grpc_calls.cc)
  target_link_libraries(strata_tsan_calls PRIVATE strata_flags)
  set(calls -Wl,-u,strata_grpc_calls strata_tsan_calls -Wl,--wrap=grpc_call_start_batch
      -Wl,--wrap=grpc_completion_queue_next)
endif()

strata_static_link_line(ABSL absl_status absl_statusor absl_strings absl_synchronization absl_time)
add_library(strata_absl INTERFACE)
target_link_libraries(strata_absl INTERFACE
  ${locks} -Wl,--start-group ${ABSL_archives} -Wl,--end-group ${ABSL_shared} Threads::Threads)

strata_static_link_line(GRPC grpc++)
find_library(GRPC_REFLECTION_ARCHIVE NAMES libgrpc++_reflection.a REQUIRED)
find_library(PROTOBUF_ARCHIVE NAMES libprotobuf.a REQUIRED)
add_library(strata_grpc INTERFACE)
target_link_libraries(strata_grpc INTERFACE
  ${locks} ${calls} -Wl,--whole-archive ${GRPC_REFLECTION_ARCHIVE} -Wl,--no-whole-archive
  -Wl,--start-group ${GRPC_archives} ${PROTOBUF_ARCHIVE} -Wl,--end-group
  ${GRPC_shared} Threads::Threads)
if(STRATA_FUZZ)
  # Clang's sanitizers are archives, too, whose malloc and free shared libraries must see.
  set(hidden libstrata_proto.a)
  foreach(archive IN LISTS GRPC_archives PROTOBUF_ARCHIVE GRPC_REFLECTION_ARCHIVE)
    get_filename_component(name ${archive} NAME)
    string(APPEND hidden ":${name}")
  endforeach()
  target_link_options(strata_grpc INTERFACE -Wl,--exclude-libs,${hidden})
else()
  target_link_options(strata_grpc INTERFACE -Wl,--exclude-libs,ALL)
endif()
