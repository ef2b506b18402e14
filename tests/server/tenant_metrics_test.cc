#include "server/tenant_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <thread>
#include <vector>

namespace strata::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class TenantMetricsTest : public testing::Test {
 protected:
  std::string Scrape() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  prometheus::Registry registry_;
  TenantMetrics metrics_{MetricFactory(&registry_)};
};

TEST_F(TenantMetricsTest, CountsApart) {
  metrics_.Find("vision").OnPrompt(12);
  metrics_.Find("vision").OnGenerated(5);
  metrics_.Find("vision").OnCall(grpc::StatusCode::RESOURCE_EXHAUSTED);
  metrics_.Find("").OnGenerated(7);
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr("strata_tenant_prompt_tokens_total{tenant=\"vision\"} 12\n"));
  EXPECT_THAT(text, HasSubstr("strata_tenant_generated_tokens_total{tenant=\"vision\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("strata_tenant_generated_tokens_total{tenant=\"none\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("{code=\"RESOURCE_EXHAUSTED\",tenant=\"vision\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("{code=\"OK\",tenant=\"vision\"} 0\n"));
}

TEST_F(TenantMetricsTest, NamesBeyondTheBoundShareALabel) {
  const size_t most = TenantMetrics::kMaxTenants;
  for (size_t i = 0; i < 3 * most; ++i) metrics_.Find("t" + std::to_string(i)).OnGenerated(1);
  metrics_.Find("t0").OnGenerated(1);
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr("strata_tenant_generated_tokens_total{tenant=\"t0\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("{tenant=\"t" + std::to_string(most - 1) + "\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("\"t" + std::to_string(most) + "\"")));
  EXPECT_THAT(text, HasSubstr("{tenant=\"other\"} " + std::to_string(2 * most) + "\n"));
}

TEST_F(TenantMetricsTest, CallersFromManyThreads) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this] {
      for (int i = 0; i < 1'000; ++i) {
        TenantMetrics::Tenant& tenant = metrics_.Find(std::to_string(i % 150));
        tenant.OnGenerated(1);
        tenant.OnCall(grpc::StatusCode::OK);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  double sum = 0;
  for (const prometheus::MetricFamily& family : registry_.Collect()) {
    if (family.name != "strata_tenant_generated_tokens_total") continue;
    EXPECT_EQ(family.metric.size(), TenantMetrics::kMaxTenants + 1);
    for (const prometheus::ClientMetric& metric : family.metric) sum += metric.counter.value;
  }
  EXPECT_EQ(sum, 4'000);
}

}  // namespace
}  // namespace strata::server
