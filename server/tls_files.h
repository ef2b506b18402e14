// The PEM files that TLS needs, read and checked.

#ifndef STRATA_SERVER_TLS_FILES_H_
#define STRATA_SERVER_TLS_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/credentials.h"
#include "server/options.h"

namespace strata::server {

struct TlsFiles {
  std::string cert_chain;  // PEM, the server's own certificate first
  std::string private_key;
  std::string client_ca;  // empty: clients show no certificates
  WallTime not_after;     // when the server's certificate ends
};

// Errors name the option and the file: not there, not PEM, a key that needs a passphrase, key and
// certificate that do not belong together, a key too short for today's OpenSSL.
absl::StatusOr<TlsFiles> ReadTlsFiles(const AccessOptions& options);

}  // namespace strata::server

#endif  // STRATA_SERVER_TLS_FILES_H_
