#include "engine/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace strata {
namespace {

using absl::StatusCode;
using std::chrono::seconds;
using testing::HasSubstr;

class AdmissionTest : public testing::Test {
 protected:
  AdmissionTest() { tenant_.name = "lab"; }

  absl::Status TryAdmit(Admission& admission, int num_samples, int prompt = 1) {
    auto ticket = admission.Admit(tenant_, num_samples, prompt, now_);
    if (ticket.ok()) tickets_.push_back(*std::move(ticket));
    return ticket.status();
  }

  Tenant tenant_;
  Instant now_{seconds(1'000)};
  std::vector<Admission::Ticket> tickets_;
};

TEST_F(AdmissionTest, ATenantsQueueIsBoundedAndFreedSampleBySample) {
  Admission admission({.max_running = 4, .max_tokens_per_minute = 0});
  tenant_.max_queued = 2;
  EXPECT_TRUE(TryAdmit(admission, 4).ok());
  EXPECT_TRUE(TryAdmit(admission, 2).ok());
  const absl::Status full = TryAdmit(admission, 1);
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("'lab'"));
  EXPECT_EQ(RetryDelay(full), std::nullopt) << "nobody knows";
  tickets_[0].EndSample();
  EXPECT_FALSE(TryAdmit(admission, 2).ok());
  EXPECT_TRUE(TryAdmit(admission, 1).ok());
  tickets_.erase(tickets_.begin());  // three are left of the first
  EXPECT_TRUE(TryAdmit(admission, 3).ok());
  EXPECT_FALSE(TryAdmit(admission, 1).ok());
  tenant_.max_running = 5;
  EXPECT_TRUE(TryAdmit(admission, 1).ok());
  tenant_.name = "other";
  EXPECT_TRUE(TryAdmit(admission, 1).ok());
}

TEST_F(AdmissionTest, TokensPerMinuteAreABudgetThatRefills) {
  Admission admission({.max_running = 4, .max_tokens_per_minute = 0});
  tenant_.max_tokens_per_minute = 600;
  EXPECT_TRUE(TryAdmit(admission, 1, 400).ok());
  tickets_[0].CountGenerated(500);  // 300 more than there were
  const absl::Status refused = TryAdmit(admission, 1, 1);
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("600 tokens per minute"));
  ASSERT_TRUE(RetryDelay(refused).has_value());
  EXPECT_NEAR(std::chrono::duration<double>(*RetryDelay(refused)).count(), 30.1, 0.01);
  now_ += seconds(30);
  EXPECT_FALSE(TryAdmit(admission, 1, 1).ok());
  now_ += *RetryDelay(refused) - seconds(30);
  EXPECT_TRUE(TryAdmit(admission, 1, 1).ok());
  EXPECT_FALSE(TryAdmit(admission, 1, 1).ok());
}

TEST_F(AdmissionTest, OverTimeNoMoreThanTheLimitIsUsed) {
  Admission admission({.max_running = 4, .max_tokens_per_minute = 0});
  tenant_.max_tokens_per_minute = 600;
  const Instant start = now_;
  int64_t used = 0;
  while (now_ < start + std::chrono::minutes(10)) {
    if (TryAdmit(admission, 1, 30).ok()) {
      tickets_.back().CountGenerated(70);
      tickets_.clear();
      used += 100;
    }
    now_ += std::chrono::milliseconds(500);
  }
  EXPECT_GE(used, 11 * 600 - 100) << "a minute's worth at once, and ten minutes";
  EXPECT_LE(used, 11 * 600 + 100);
}

TEST_F(AdmissionTest, AllTenantsShareTheEnginesBudget) {
  Admission admission({.max_running = 4, .max_tokens_per_minute = 1'000});
  EXPECT_TRUE(TryAdmit(admission, 1, 500).ok());
  tickets_[0].CountGenerated(600);
  tenant_.name = "other";
  const absl::Status refused = TryAdmit(admission, 1, 1);
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("all requests together"));
  EXPECT_TRUE(RetryDelay(refused).has_value());
}

TEST_F(AdmissionTest, ARefusedRequestCostsNothing) {
  Admission admission({.max_running = 1, .max_tokens_per_minute = 0});
  tenant_.max_queued = 1;
  tenant_.max_tokens_per_minute = 100;
  EXPECT_TRUE(TryAdmit(admission, 2, 50).ok());
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(TryAdmit(admission, 1, 50).ok());
  tickets_.clear();
  EXPECT_TRUE(TryAdmit(admission, 1, 1).ok());
}

TEST_F(AdmissionTest, IdleTenantsAreForgottenButNotTheirDebts) {
  Admission admission({.max_running = 4, .max_tokens_per_minute = 0});
  tenant_.max_tokens_per_minute = 60;
  EXPECT_TRUE(TryAdmit(admission, 1, 1'000).ok());
  tickets_.clear();
  const Tenant debtor = tenant_;
  for (int i = 0; i < 20'000; ++i) {
    tenant_ = {};
    tenant_.name = "t" + std::to_string(i);
    EXPECT_TRUE(TryAdmit(admission, 1).ok());
    tickets_.clear();
  }
  EXPECT_LE(admission.num_tenants(), 1'024);
  tenant_ = debtor;
  EXPECT_FALSE(TryAdmit(admission, 1).ok());
}

TEST_F(AdmissionTest, MadeUpNamesWithBudgetsDoNotFillTheMemory) {
  Admission admission({.max_running = 4, .max_tokens_per_minute = 0});
  for (int i = 0; i < 50'000; ++i) {
    tenant_.name = "t" + std::to_string(i);
    tenant_.max_tokens_per_minute = 60;
    EXPECT_TRUE(TryAdmit(admission, 1, 30).ok());
    tickets_.clear();
  }
  EXPECT_LE(admission.num_tenants(), 20'000);
}

TEST_F(AdmissionTest, TicketsMoveAndCountOnce) {
  Admission admission({.max_running = 1, .max_tokens_per_minute = 0});
  tenant_.max_queued = 1;
  EXPECT_TRUE(TryAdmit(admission, 2).ok());
  Admission::Ticket moved = std::move(tickets_[0]);
  tickets_.clear();
  EXPECT_FALSE(TryAdmit(admission, 1).ok());
  moved = Admission::Ticket();
  EXPECT_TRUE(TryAdmit(admission, 2).ok());
  moved.EndSample();
  moved.CountGenerated(5);
  EXPECT_FALSE(TryAdmit(admission, 1).ok());
}

}  // namespace
}  // namespace strata
