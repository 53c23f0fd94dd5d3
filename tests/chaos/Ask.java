import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest.BodyPublisher known = HttpRequest.BodyPublishers.ofString(arguments[1]);
        HttpRequest.BodyPublisher chunked = HttpRequest.BodyPublishers.fromPublisher(known);
        for (HttpRequest.BodyPublisher body : new HttpRequest.BodyPublisher[] {known, chunked, known}) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "application/json").POST(body).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
        }
    }
}
