// How the drafts of each tenant fare, for a bounded number of tenants.

#ifndef STRATA_ENGINE_POLICY_TENANT_FACTORS_H_
#define STRATA_ENGINE_POLICY_TENANT_FACTORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/policy/acceptance_model.h"

namespace strata {

class TenantFactors {
 public:
  // More than these are not told apart: the one unused for longest makes room, and whoever still
  // has its number shares that with the newcomer.
  static constexpr int kMaxTenants = 256;

  struct Tenant {
    std::string name;
    OddsFactor factor = {1, kTenantPrior.variance};  // of its drafts' odds, over the traffic's
    uint64_t last_use = 0;
  };

  // The tenant's number, in [0, kMaxTenants). Tenant 0 is there from the start.
  int Find(const std::string& name);
  OddsFactor& factor(int tenant) { return tenants_[tenant].factor; }
  const std::vector<Tenant>& tenants() const { return tenants_; }
  // Takes what is known about a tenant from elsewhere.
  void Restore(const std::string& name, const OddsFactor& factor) {
    tenants_[Find(name)].factor = factor;
  }

 private:
  std::vector<Tenant> tenants_ = {Tenant()};
  uint64_t num_uses_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_POLICY_TENANT_FACTORS_H_
