#include "server/tenant_metrics.h"

#include "server/status_mapping.h"

namespace strata::server {

TenantMetrics::TenantMetrics(const MetricFactory& factory)
    : prompt_tokens_(factory.AddFamily("strata_tenant_prompt_tokens_total",
                                       "Tokens of prompts of admitted calls, cached ones included, "
                                       "by tenant")),
      generated_tokens_(
          factory.AddFamily("strata_tenant_generated_tokens_total", "Tokens committed, by tenant")),
      requests_(
          factory.AddFamily("strata_tenant_requests_total", "Calls by tenant and status code")) {}

TenantMetrics::Tenant& TenantMetrics::Find(const std::string& name) {
  std::string label = name.empty() ? kUnnamed : name;
  absl::MutexLock lock(&mu_);
  if (tenants_.size() >= kMaxTenants && !tenants_.contains(label)) label = kOthers;
  auto it = tenants_.find(label);
  if (it == tenants_.end()) it = tenants_.emplace(label, Tenant(*this, label)).first;
  return it->second;
}

TenantMetrics::Tenant::Tenant(TenantMetrics& metrics, const std::string& label)
    : metrics_(metrics),
      label_(label),
      prompt_tokens_(metrics.prompt_tokens_.Add({{"tenant", label}})),
      generated_tokens_(metrics.generated_tokens_.Add({{"tenant", label}})) {
  metrics.requests_.Add({{"tenant", label}, {"code", "OK"}});  // shown from the start, at 0
}

void TenantMetrics::Tenant::OnCall(grpc::StatusCode code) {
  metrics_.requests_.Add({{"tenant", label_}, {"code", CodeName(code)}}).Increment();
}

}  // namespace strata::server
