#include "server/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>

namespace strata::server {
namespace {

// grpcpp's own SslServerCredentials are fixed for life, and its FileWatcherCertificateProvider
// cannot serve any more once it has seen a broken file. The core's certificate fetcher, which is
// asked before each handshake, has no wrapper in grpcpp: this is one.
class FetchedCredentials final : public grpc::ServerCredentials {
 public:
  explicit FetchedCredentials(std::shared_ptr<const TlsIdentity> identity)
      : identity_(std::move(identity)) {
    const auto request = identity_->Get().client_ca.empty()
                             ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                             : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(request, Fetch, this));
  }
  ~FetchedCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& processor) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // The core asks one handshake at a time.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto* credentials = static_cast<FetchedCredentials*>(self);
    const int version = credentials->identity_->version();
    if (version == credentials->version_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const TlsFiles files = credentials->identity_->Get();
    const grpc_ssl_pem_key_cert_pair pair = {files.private_key.c_str(), files.cert_chain.c_str()};
    // The core insists on some trusted certificate, even where clients are not asked for theirs.
    const std::string& trusted = files.client_ca.empty() ? files.cert_chain : files.client_ca;
    *config = grpc_ssl_server_certificate_config_create(trusted.c_str(), &pair, 1);
    credentials->version_ = version;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const TlsIdentity> identity_;
  int version_ = 0;  // of what was fetched last
  grpc_server_credentials* credentials_ = nullptr;
};

}  // namespace

void TlsIdentity::Set(TlsFiles files) {
  absl::MutexLock lock(&mu_);
  files_ = std::move(files);
  ++version_;
}

TlsFiles TlsIdentity::Get() const {
  absl::MutexLock lock(&mu_);
  return files_;
}

int TlsIdentity::version() const {
  absl::MutexLock lock(&mu_);
  return version_;
}

std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(
    std::shared_ptr<const TlsIdentity> identity) {
  return std::make_shared<FetchedCredentials>(std::move(identity));
}

}  // namespace strata::server
