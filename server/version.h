// The version that --version, GetModelInfo and strata_build_info report.

#ifndef STRATA_SERVER_VERSION_H_
#define STRATA_SERVER_VERSION_H_

namespace strata::server {

inline constexpr char kVersion[] = STRATA_VERSION;  // project() in the top CMakeLists.txt

}  // namespace strata::server

#endif  // STRATA_SERVER_VERSION_H_
