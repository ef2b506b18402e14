#include "server/access_control.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "engine/status_macros.h"

namespace strata::server {

AccessControl::AccessControl(const Options& options, ServerMetrics* metrics)
    : options_(options.access),
      tenant_defaults_(options.tenancy.defaults),
      metrics_(metrics),
      credentials_file_({options_.credentials}),
      tls_files_({options_.tls_cert, options_.tls_key, options_.tls_client_ca}) {}

absl::StatusOr<std::unique_ptr<AccessControl>> AccessControl::Open(const Options& options,
                                                                   ServerMetrics* metrics) {
  const AccessOptions& access = options.access;
  std::unique_ptr<AccessControl> control(new AccessControl(options, metrics));
  if (access.credentials.empty()) {
    control->authenticator_ = std::make_unique<Authenticator>();
  } else {
    absl::StatusOr<Credentials> credentials =
        Credentials::Read(access.credentials, options.tenancy.defaults);
    if (!credentials.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("--credentials: {}", std::string(credentials.status().message())));
    }
    control->authenticator_ =
        std::make_unique<Authenticator>(*std::move(credentials), access.open_methods);
  }
  if (!access.tls_cert.empty()) {
    ASSIGN_OR_RETURN(TlsFiles files, ReadTlsFiles(access));
    metrics->SetCertificateEnd(files.not_after);
    control->tls_ = std::make_shared<TlsIdentity>(std::move(files));
  }
  if (!options.audit_log.empty()) {
    ASSIGN_OR_RETURN(control->audit_log_, AuditLog::Open(options.audit_log, metrics));
  }
  return control;
}

void AccessControl::Poll() { Reread(/*all=*/false); }

void AccessControl::Reload() {
  Reread(/*all=*/true);
  if (audit_log_ == nullptr) return;
  const absl::Status status = audit_log_->Reopen();
  if (!status.ok()) OnFailure("audit log", status);
}

void AccessControl::Reread(bool all) {
  {
    absl::MutexLock lock(&mu_);
    const bool credentials = credentials_file_.Changed() || all;
    if (credentials && !options_.credentials.empty()) ReloadCredentials();
    const bool tls = tls_files_.Changed() || all;
    if (tls && tls_ != nullptr) ReloadTls();
  }
  live_calls_.Recheck([this](const Caller& caller) { return authenticator_->Recheck(caller); });
}

void AccessControl::ReloadCredentials() {
  absl::StatusOr<Credentials> credentials =
      Credentials::Read(options_.credentials, tenant_defaults_);
  if (!credentials.ok()) return OnFailure("credentials", credentials.status());
  spdlog::info("credentials: {} tokens read from {}", credentials->tokens().size(),
               options_.credentials);
  authenticator_->SetCredentials(*std::move(credentials));
}

void AccessControl::ReloadTls() {
  absl::StatusOr<TlsFiles> files = ReadTlsFiles(options_);
  if (!files.ok()) return OnFailure("certificates", files.status());
  spdlog::info("certificates: read from {}", options_.tls_cert);
  metrics_->SetCertificateEnd(files->not_after);
  tls_->Set(*std::move(files));
}

void AccessControl::OnFailure(const std::string& what, const absl::Status& status) {
  spdlog::error("{}: what was read before stays in use: {}", what, std::string(status.message()));
  metrics_->OnReloadFailed(what);
}

}  // namespace strata::server
