// On whose behalf a call is made.

#ifndef STRATA_SERVER_CALLER_H_
#define STRATA_SERVER_CALLER_H_

#include <memory>
#include <string>
#include <utility>

#include "server/credentials.h"

namespace strata::server {

// Cheap to copy.
class Caller {
 public:
  // Nobody in particular: the server asks for no tokens, or the method needs none.
  Caller() = default;
  explicit Caller(Token token) : token_(std::make_shared<const Token>(std::move(token))) {}

  // Null for nobody in particular.
  const Token* token() const { return token_.get(); }
  // The tenant without a name for nobody in particular.
  Tenant tenant() const { return token_ == nullptr ? Tenant() : token_->account->tenant; }
  bool acknowledges_noncommercial_use() const {
    return token_ != nullptr && token_->account->noncommercial_use_acknowledged;
  }

 private:
  std::shared_ptr<const Token> token_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_CALLER_H_
