#include "client/connect_flags.h"

#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "client/status_macros.h"

namespace strata::client {
namespace {

// Of the file that `flag` names; empty if it names none.
absl::StatusOr<std::string> ReadFlagFile(const char* flag, const std::string& path) {
  if (path.empty()) return std::string();
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (file && std::filesystem::is_regular_file(path, error)) {
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  return absl::InvalidArgumentError(fmt::format("{}: {} cannot be read", flag, path));
}

}  // namespace

void ConnectFlags::AddTo(CLI::App* app) {
  app->add_option("--server", server, "Where the server listens")
      ->envname("STRATA_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app->add_flag("--tls", tls, "Over TLS, trusting what this machine trusts");
  app->add_option("--tls-ca", tls_ca, "Over TLS, trusting these certificates (PEM)")
      ->envname("STRATA_TLS_CA")
      ->type_name("FILE");
  app->add_option("--tls-cert", tls_cert, "Our own certificate, if the server wants one")
      ->type_name("FILE");
  app->add_option("--tls-key", tls_key, "Its private key")->type_name("FILE");
  app->add_option("--token-file", token_file, "Holds the token that says who we are")
      ->envname("STRATA_TOKEN_FILE")
      ->type_name("FILE");
}

absl::StatusOr<ConnectOptions> ConnectFlags::options() const {
  ConnectOptions options;
  options.address = server;
  options.tls = tls || !tls_ca.empty() || !tls_cert.empty() || !tls_key.empty();
  ASSIGN_OR_RETURN(options.ca_certificates, ReadFlagFile("--tls-ca", tls_ca));
  ASSIGN_OR_RETURN(options.certificate, ReadFlagFile("--tls-cert", tls_cert));
  ASSIGN_OR_RETURN(options.private_key, ReadFlagFile("--tls-key", tls_key));
  ASSIGN_OR_RETURN(options.token, ReadFlagFile("--token-file", token_file));
  while (!options.token.empty() && std::isspace(static_cast<unsigned char>(options.token.back()))) {
    options.token.pop_back();  // the end of the line
  }
  RETURN_IF_ERROR(Validate(options));
  return options;
}

}  // namespace strata::client
