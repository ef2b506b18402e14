// The flags of a command line that say how to reach a server, and as whom.

#ifndef STRATA_CLIENT_CONNECT_FLAGS_H_
#define STRATA_CLIENT_CONNECT_FLAGS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"

namespace strata::client {

struct ConnectFlags {
  std::string server = "127.0.0.1:50051";
  bool tls = false;    // with the system's trusted roots
  std::string tls_ca;  // files; empty: none
  std::string tls_cert;
  std::string tls_key;
  std::string token_file;

  // This must outlive the parsing of `app`.
  void AddTo(CLI::App* app);
  // Reads the files. INVALID_ARGUMENT where one cannot be read, or flags contradict each other.
  absl::StatusOr<ConnectOptions> options() const;
};

}  // namespace strata::client

#endif  // STRATA_CLIENT_CONNECT_FLAGS_H_
