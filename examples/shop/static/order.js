/** Shows the order's payment live, and the order as soon as the backend has heard of it. */
const { sluice: baseUrl, order: orderId, payment: paymentId } = document.body.dataset;
const { getPayment, watch } = await import(`${baseUrl}/static/sluice.js`);

// The backend hears of the payment by its own way, which may take a moment longer than the page's.
const ORDER_PAUSE_MS = 500;
const ENDED = new Set(['completed', 'failed', 'cancelled']);
const show = (id, text) => { document.getElementById(id).textContent = text; };

const getToken = async () => {
  const response = await fetch('/token', { method: 'POST' });
  if (!response.ok) throw new Error(`No token: HTTP ${response.status}`);
  return response.json();
};
let version = 0;

function accept(payment) {
  if (payment.id !== paymentId || payment.version <= version) return;
  version = payment.version;
  show('payment', payment.status);
  if (ENDED.has(payment.status)) showOrder();
}

async function showOrder() {
  const order = await fetch(`/orders/${orderId}.json`).then((response) => response.json());
  show('order', order.status);
  if (order.status === 'open') setTimeout(showOrder, ORDER_PAUSE_MS);
}

watch({
  baseUrl,
  getToken,
  onMessage: (message) => accept(message.payment),
  // Reading after the greeting leaves no gap: what happens from here on comes as a message.
  onState: (state) => {
    if (state === 'live' || state === 'fallback') getPayment(paymentId, { baseUrl, getToken }).then(accept);
  },
  onError: (error) => console.warn(error),
});
