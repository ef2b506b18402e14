// TLS for a gRPC server whose certificates may change while it serves.

#ifndef STRATA_SERVER_TLS_CREDENTIALS_H_
#define STRATA_SERVER_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/tls_files.h"

namespace strata::server {

// What handshakes use from now on; those that are through stay as they are. Thread-safe.
class TlsIdentity {
 public:
  explicit TlsIdentity(TlsFiles files) : files_(std::move(files)) {}

  void Set(TlsFiles files);
  TlsFiles Get() const;
  // Raised by each Set.
  int version() const;

 private:
  mutable absl::Mutex mu_;
  TlsFiles files_ ABSL_GUARDED_BY(mu_);
  int version_ ABSL_GUARDED_BY(mu_) = 1;
};

// For one listening port. TLS 1.2 and 1.3, with the AEAD ciphers and forward secrecy that are
// gRPC's default. If the identity holds a client CA, a client without a certificate of it cannot
// connect.
std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(
    std::shared_ptr<const TlsIdentity> identity);

}  // namespace strata::server

#endif  // STRATA_SERVER_TLS_CREDENTIALS_H_
