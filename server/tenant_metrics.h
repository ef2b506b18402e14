// What each tenant uses, under a bounded number of labels.

#ifndef STRATA_SERVER_TENANT_METRICS_H_
#define STRATA_SERVER_TENANT_METRICS_H_

#include <grpcpp/support/status_code_enum.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>

#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/metric_factory.h"

namespace strata::server {

// Thread-safe.
class TenantMetrics {
 public:
  // The first so many names have a label of their own; all others share kOthers. Tenants are named
  // by the operator's file of credentials or, behind a proxy, by callers: who they are is for the
  // operator to see to, how many there are must not be able to hurt.
  static constexpr size_t kMaxTenants = 100;
  static constexpr char kOthers[] = "other";
  static constexpr char kUnnamed[] = "none";

  // One label's.
  class Tenant {
   public:
    void OnPrompt(int num_tokens) { prompt_tokens_.Increment(num_tokens); }
    void OnGenerated(size_t num_tokens) {
      generated_tokens_.Increment(static_cast<double>(num_tokens));
    }
    // A call has ended.
    void OnCall(grpc::StatusCode code);

   private:
    friend class TenantMetrics;
    Tenant(TenantMetrics& metrics, const std::string& label);

    TenantMetrics& metrics_;
    const std::string label_;
    prometheus::Counter& prompt_tokens_;
    prometheus::Counter& generated_tokens_;
  };

  explicit TenantMetrics(const MetricFactory& factory);

  // Of the tenant of this name; lives as long as this.
  Tenant& Find(const std::string& name);

 private:
  prometheus::Family<prometheus::Counter>& prompt_tokens_;
  prometheus::Family<prometheus::Counter>& generated_tokens_;
  prometheus::Family<prometheus::Counter>& requests_;
  absl::Mutex mu_;
  std::map<std::string, Tenant> tenants_ ABSL_GUARDED_BY(mu_);  // by label
};

}  // namespace strata::server

#endif  // STRATA_SERVER_TENANT_METRICS_H_
