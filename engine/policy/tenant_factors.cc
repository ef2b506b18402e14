#include "engine/policy/tenant_factors.h"

#include <algorithm>

namespace strata {
int TenantFactors::Find(const std::string& name) {
  ++num_uses_;
  auto found = std::find_if(tenants_.begin(), tenants_.end(),
                            [&](const Tenant& tenant) { return tenant.name == name; });
  if (found == tenants_.end()) {
    if (static_cast<int>(tenants_.size()) < kMaxTenants) {
      found = tenants_.insert(tenants_.end(), Tenant());
    } else {
      found = std::min_element(
          tenants_.begin(), tenants_.end(),
          [](const Tenant& a, const Tenant& b) { return a.last_use < b.last_use; });
    }
    *found = Tenant();
    found->name = name;
  }
  found->last_use = num_uses_;
  return static_cast<int>(found - tenants_.begin());
}

}  // namespace strata
