#include "engine/tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <utility>

namespace strata {

class SentencePieceModel::Impl {
 public:
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Load(std::string_view serialized,
                                                             std::string& error) {
  auto impl = std::make_unique<Impl>();
  const auto status = impl->processor.LoadFromSerializedProto(serialized);
  if (!status.ok()) {
    error = status.ToString();
    return nullptr;
  }
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(impl)));
}

std::vector<int> SentencePieceModel::Encode(std::string_view text) const {
  std::vector<int> ids;
  // Fails only for a model that did not load.
  if (!impl_->processor.Encode(text, &ids).ok()) ids.clear();
  return ids;
}

std::string SentencePieceModel::Decode(const std::vector<int>& ids) const {
  std::string text;
  if (!impl_->processor.Decode(ids, &text).ok()) text.clear();
  return text;
}

std::vector<SentencePieceModel::Token> SentencePieceModel::Tokens() const {
  const auto& processor = impl_->processor;
  std::vector<Token> tokens(processor.GetPieceSize());
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    tokens[id].piece = processor.IdToPiece(id);
    if (processor.IsByte(id)) tokens[id].kind = Kind::kByte;
    if (processor.IsUnknown(id)) tokens[id].kind = Kind::kUnknown;
    if (processor.IsControl(id)) tokens[id].kind = Kind::kControl;
    if (processor.IsUnused(id)) tokens[id].kind = Kind::kUnused;
  }
  return tokens;
}

int SentencePieceModel::bos_id() const { return impl_->processor.bos_id(); }
int SentencePieceModel::eos_id() const { return impl_->processor.eos_id(); }

}  // namespace strata
