#include "server/tls_files.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>
#include <utility>

#include "engine/checkpoint/json_file.h"
#include "engine/status_macros.h"

namespace strata::server {
namespace {

constexpr size_t kMaxPemBytes = 16 << 20;

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* object) const { Free(object); }
};
using Certificate = std::unique_ptr<X509, Deleter<X509, X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY, EVP_PKEY_free>>;
using Context = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX, SSL_CTX_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO, BIO_free_all>>;

// What OpenSSL said first of what went wrong on this thread; forgets the rest.
std::string TakeOpenSslError() {
  const char* reason = ERR_reason_error_string(ERR_get_error());
  ERR_clear_error();
  return reason == nullptr ? "cannot be used" : reason;
}

Bio OpenText(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// In place of OpenSSL's own, which would ask on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

Certificate ParseCertificate(const std::string& pem) {
  return Certificate(PEM_read_bio_X509(OpenText(pem).get(), nullptr, NoPassphrase, nullptr));
}

absl::StatusOr<std::string> ReadOption(const char* option, const std::string& path) {
  absl::StatusOr<std::string> text = ReadWholeFile(path, kMaxPemBytes);
  if (text.ok()) return text;
  return absl::InvalidArgumentError(
      fmt::format("{}: {}", option, std::string(text.status().message())));
}

absl::Status Problem(const char* option, const std::string& path, const std::string& problem) {
  return absl::InvalidArgumentError(fmt::format("{}: {}: {}", option, path, problem));
}

absl::StatusOr<WallTime> NotAfter(const X509& certificate) {
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &time) != 1) {
    return absl::InvalidArgumentError("--tls-cert: its end of validity is no time");
  }
  return std::chrono::system_clock::from_time_t(timegm(&time));
}

// Whether a handshake could use them: what gRPC will ask of OpenSSL, asked beforehand.
absl::Status CheckPair(X509* certificate, EVP_PKEY* key, const AccessOptions& options) {
  const Context context(SSL_CTX_new(TLS_server_method()));
  if (SSL_CTX_use_certificate(context.get(), certificate) != 1) {
    return Problem("--tls-cert", options.tls_cert, TakeOpenSslError());
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return Problem("--tls-key", options.tls_key,
                   fmt::format("{} ({})", TakeOpenSslError(), options.tls_cert));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsFiles> ReadTlsFiles(const AccessOptions& options) {
  TlsFiles files;
  ASSIGN_OR_RETURN(files.cert_chain, ReadOption("--tls-cert", options.tls_cert));
  ASSIGN_OR_RETURN(files.private_key, ReadOption("--tls-key", options.tls_key));
  const Certificate certificate = ParseCertificate(files.cert_chain);
  if (certificate == nullptr) {
    return Problem("--tls-cert", options.tls_cert,
                   fmt::format("no certificate in PEM: {}", TakeOpenSslError()));
  }
  const PrivateKey key(
      PEM_read_bio_PrivateKey(OpenText(files.private_key).get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return Problem(
        "--tls-key", options.tls_key,
        fmt::format("no private key in PEM without a passphrase: {}", TakeOpenSslError()));
  }
  RETURN_IF_ERROR(CheckPair(certificate.get(), key.get(), options));
  ASSIGN_OR_RETURN(files.not_after, NotAfter(*certificate));
  if (options.tls_client_ca.empty()) return files;
  ASSIGN_OR_RETURN(files.client_ca, ReadOption("--tls-client-ca", options.tls_client_ca));
  if (ParseCertificate(files.client_ca) == nullptr) {
    return Problem("--tls-client-ca", options.tls_client_ca,
                   fmt::format("no certificate in PEM: {}", TakeOpenSslError()));
  }
  return files;
}

}  // namespace strata::server
