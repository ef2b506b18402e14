// Everything that says who may call and writes down who did: TLS, tokens, the audit log; and their
// files, read again when they change.

#ifndef STRATA_SERVER_ACCESS_CONTROL_H_
#define STRATA_SERVER_ACCESS_CONTROL_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/audit_log.h"
#include "server/authenticator.h"
#include "server/file_watch.h"
#include "server/live_calls.h"
#include "server/metrics.h"
#include "server/options.h"
#include "server/tls_credentials.h"

namespace strata::server {

// Thread-safe.
class AccessControl {
 public:
  // Reads the files that `options` names. `metrics` must outlive this.
  // Errors name the option and the file.
  static absl::StatusOr<std::unique_ptr<AccessControl>> Open(const Options& options,
                                                             ServerMetrics* metrics);

  const Authenticator& authenticator() const { return *authenticator_; }
  LiveCalls* live_calls() { return &live_calls_; }
  AuditLog* audit_log() { return audit_log_.get(); }         // null: none is kept
  std::shared_ptr<TlsIdentity> tls() const { return tls_; }  // null: no TLS

  // Reads again the files that have changed, and ends the calls whose token is no longer good.
  // Where a file is broken, what it said before is kept, and an error logged. To be called about
  // once a second.
  void Poll();
  // The same, whether the files seem to have changed or not; the audit log is opened anew.
  void Reload();

 private:
  AccessControl(const Options& options, ServerMetrics* metrics);
  void Reread(bool all);
  void ReloadCredentials() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReloadTls() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnFailure(const std::string& what, const absl::Status& status);

  const AccessOptions options_;
  const Tenant tenant_defaults_;
  ServerMetrics* const metrics_;
  LiveCalls live_calls_;
  // Constant after Open.
  std::unique_ptr<Authenticator> authenticator_;
  std::shared_ptr<TlsIdentity> tls_;
  std::unique_ptr<AuditLog> audit_log_;

  absl::Mutex mu_;
  FileWatch credentials_file_ ABSL_GUARDED_BY(mu_);
  FileWatch tls_files_ ABSL_GUARDED_BY(mu_);
};

}  // namespace strata::server

#endif  // STRATA_SERVER_ACCESS_CONTROL_H_
