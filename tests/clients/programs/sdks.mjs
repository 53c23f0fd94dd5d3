// The SDKs of services that rank.

import { answer, scored } from './asked.mjs'

const body = ({ model, query, texts }) => ({ model, query, documents: texts })

await answer({
  async cohere_v2(asked) {
    const { CohereClientV2 } = await import('cohere-ai')
    const client = new CohereClientV2({ token: asked.key, environment: asked.url })
    return scored((await client.rerank(body(asked))).results)
  },

  async cohere_v1(asked) {
    const { CohereClient } = await import('cohere-ai')
    const client = new CohereClient({ token: asked.key, environment: asked.url })
    return scored((await client.rerank(body(asked))).results)
  },

  async voyageai(asked) {
    const { VoyageAIClient } = await import('voyageai')
    const client = new VoyageAIClient({ apiKey: asked.key, environment: asked.url })
    return scored((await client.rerank(body(asked))).data)
  },

  async mixedbread(asked) {
    const { Mixedbread } = await import('@mixedbread/sdk')
    const client = new Mixedbread({ apiKey: asked.key, baseURL: asked.url })
    const { model, query, texts } = asked
    const found = await client.rerank({ model, query, input: texts, top_k: texts.length })
    return found.data.map((one) => [one.index, one.score])
  },

  async mixedbread_old(asked) {
    const { MixedbreadAIClient } = await import('@mixedbread-ai/sdk')
    const client = new MixedbreadAIClient({ apiKey: `Bearer ${asked.key}`, environment: asked.url })
    const { model, query, texts } = asked
    const found = await client.reranking({ model, query, input: texts, topK: texts.length })
    return found.data.map((one) => [one.index, one.score])
  },

  async together(asked) {
    const { default: Together } = await import('together-ai')
    const client = new Together({ apiKey: asked.key, baseURL: asked.url })
    const found = await client.rerank.create(body(asked))
    return found.results.map((one) => [one.index, one.relevance_score])
  },

  async huggingface(asked) {
    const { InferenceClient } = await import('@huggingface/inference')
    const client = new InferenceClient(asked.key, { endpointUrl: asked.url })
    const inputs = { source_sentence: asked.query, sentences: asked.texts }
    const scores = await client.sentenceSimilarity({ inputs })
    return [...scores.entries()].sort((one, other) => other[1] - one[1])
  },
})
