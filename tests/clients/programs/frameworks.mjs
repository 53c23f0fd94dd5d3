// Frameworks that have rerankers: the AI SDK, LangChain and LlamaIndex.

import { answer, scored } from './asked.mjs'

// The AI SDK's rerank with a provider's model.
async function ranked(model, { query, texts }) {
  const { rerank } = await import('ai')
  const { ranking } = await rerank({ model, query, documents: texts })
  return ranking.map((one) => [one.originalIndex, one.score])
}

// What a LlamaIndex postprocessor makes of nodes without scores.
async function processed(postprocessor, { query, texts }) {
  const { TextNode } = await import('@llamaindex/core/schema')
  const nodes = texts.map((text) => ({ node: new TextNode({ text }), score: 0 }))
  const found = await postprocessor.postprocessNodes(nodes, query)
  return found.map((one) => [texts.indexOf(one.node.text), one.score])
}

await answer({
  async ai_cohere(asked) {
    const { createCohere } = await import('@ai-sdk/cohere')
    return ranked(createCohere({ apiKey: asked.key, baseURL: asked.url }).reranking(asked.model), asked)
  },

  async ai_together(asked) {
    const { createTogetherAI } = await import('@ai-sdk/togetherai')
    return ranked(createTogetherAI({ apiKey: asked.key, baseURL: asked.url }).reranking(asked.model), asked)
  },

  async ai_voyage(asked) {
    const { createVoyage } = await import('voyage-ai-provider')
    return ranked(createVoyage({ apiKey: asked.key, baseURL: asked.url }).reranking(asked.model), asked)
  },

  async langchain_cohere(asked) {
    const { CohereClient } = await import('cohere-ai')
    const { CohereRerank } = await import('@langchain/cohere')
    const client = new CohereClient({ token: asked.key, environment: asked.url })
    const reranker = new CohereRerank({ client, model: asked.model, topN: asked.texts.length })
    return scored(await reranker.rerank(asked.texts, asked.query))
  },

  async llamaindex_cohere(asked) {
    const { CohereRerank } = await import('@llamaindex/cohere')
    const { key, url, model, texts } = asked
    return processed(new CohereRerank({ apiKey: key, baseUrl: url, model, topN: texts.length }), asked)
  },

  async llamaindex_mixedbread(asked) {
    const { MixedbreadAIReranker } = await import('@llamaindex/mixedbread')
    const { key, url, model, texts } = asked
    return processed(new MixedbreadAIReranker({ apiKey: `Bearer ${key}`, baseUrl: url, model, topK: texts.length }), asked)
  },
})
